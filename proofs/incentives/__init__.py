"""Incentives of the auctions: truthful, individually rational, budget feasible, and how good."""
