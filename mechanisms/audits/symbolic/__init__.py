"""Laws for all real bids of a small auction, by running the rule itself on every path of its code.

`linear_form` has the numbers that a rule computes with, `paths` goes through all of its decisions,
`programs` says what must hold on each, and `prove` is the public call. No encoding of any rule
exists, so what is shown is about the code that ran.
"""
