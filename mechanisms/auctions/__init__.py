"""The auctions: one rule per file, in exact numbers and in floats.

A file holds a rule's definition, its exact form and its float form. `baselines` has two rules that
pay the bids, `posted_price` two with prices set beforehand, and `registry` finds a rule by name.

| folder | what rules share |
|---|---|
| `exact` | steps of the exact forms: rankings, leave-one-out offers, whole numbers |
| `floats` | steps of the float forms: order statistics and recruitment |
| `wide` | rules that assign clients to tasks: integers of 120 bits, exact and compiled at once |
| `kernels` | compiled loops of the float forms, loaded by the first float auction |
"""
