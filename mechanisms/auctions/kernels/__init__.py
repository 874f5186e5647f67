"""Compiled float kernels of the auctions. Public functions import them on their first call.

`jit` compiles, `exact_comparison` decides sums of floats without rounding, `selection` gathers the
bids around a rank, `shares` is for rules with one price per task, `spending` for rules that buy in
an order, `menus` for prices less a fee, and `water_filling` for the leave-one-out rules.
"""
