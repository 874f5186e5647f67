"""Flows that may split over several paths: problem, residual, and one file per method.

`api` states the public functions, `result` what they return, `problem` has the residual of any
point. `solve` chooses the method and gives the status; `log_form.PathForm` is the scaled problem
that the methods work on. Finite alpha: `interior_point` in prices, then `alpha_continuation` along
the `central_path` with `newton` steps in logarithms, then `lexicographic_stages`, whose answers
`stage_merge` combines. `lp_optimality_check` finds gains that float64 prices cannot show.
`max_min_levels` has alpha = 0 and inf.
"""
