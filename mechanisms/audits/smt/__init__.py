"""Truthfulness and budgets for all real bids, proved by the solver Z3.

`encodings` writes the rules as terms of the solver; `prove` runs it and replays what it finds.
"""
