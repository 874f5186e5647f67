"""The default auction for every number of clients and tasks, machine-checked by Rocq (Coq).

`theories/` defines the rule from the table of bids and proves its laws for all sizes and all
rational bids; `compiler` has the kernel check them, where `coqc` is installed. What ties them to
the Python code: `recorded` auctions, whose outcomes the extracted rule wrote down and which need
Python alone; `kernel`, where fresh outcomes are computed inside the kernel; and `differential`, a
command that compares many with the extracted program. `wrong_definitions` are relatives of the
rule that the kernel refutes. `theorems` are the claims.

`clearing_claims` are those about CLW, the rule of `capacity_max_min` for clients that do at most
one task.
"""
