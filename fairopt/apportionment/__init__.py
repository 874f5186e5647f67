"""Whole numbers with an exact total, in exact rational arithmetic; no float decides.

`shares` finds real-valued shares, `largest_remainder` rounds them, and `marginal_greedy` finds the
integers that minimise a separable convex objective.
"""
