"""Steps of the exact forms, which add and compare numbers without rounding.

`ranking` has order statistics and the outcome, `offers` the loop of every leave-one-out rule,
`integer_scaling` turns fractions into integers, which are faster, `by_value` ranks clients by their
cost per value, and `coverage` is what sets of clients cover.
"""
