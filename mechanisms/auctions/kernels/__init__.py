"""Compiled float kernels of the auctions. Public functions import them on their first call."""
