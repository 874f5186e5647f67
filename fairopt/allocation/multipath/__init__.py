"""Flows that may split over several paths: problem, judges, and one file per method.

`api` states the public functions, `result` what they return. `solve` says which method goes first
and gives the status, `log_form.PathForm` is the problem without units that the methods work on,
`lp_optimality_check` looks for what prices cannot show.
"""
