"""Metrics of rounds and of clients, and the figures that an algorithm adds."""
