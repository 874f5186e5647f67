"""Virtual time: delays, availability of clients, and synchronisation policies."""
