"""Steps of the exact forms, which add and compare numbers without rounding.

`ranking` has order statistics and the outcome, `offers` the loop of every leave-one-out rule, and
`integer_scaling` turns fractions into integers, which are faster.
"""
