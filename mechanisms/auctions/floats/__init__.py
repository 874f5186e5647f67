"""Steps of the float forms: the same decisions as the exact ones, in compiled loops.

`order_statistics` sorts the bids, or only the stretch of them that decides; `recruitment` finds
levels on them and recruits; `menus` has exact prices as floats that decide exactly.
"""
