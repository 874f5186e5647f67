"""Honesty of the auctions: truthful, individually rational, within budget, and how good."""
