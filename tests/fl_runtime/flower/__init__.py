"""Federations, with and without Flower."""
