"""Figures of rounds, of clients, and those that algorithms tell about themselves."""
