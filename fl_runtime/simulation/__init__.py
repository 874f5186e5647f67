"""The virtual clock: delays, availability, and what a server waits for."""
