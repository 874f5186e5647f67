"""Flows that may split over several paths: problem, residual, certificate, and the methods.

`api` states the public functions, `result` what they return, `stated` writes limits and weights as
links and units, `problem` has the residual of any point and `certificate` a bound of the error of
every rate. `solve` chooses the method and gives the status.

Finite alpha is solved by `direct`: `presolve` drops what decides nothing, `interior` follows the
central path with Newton steps in `link_space`, `polish` gives the last digits. What that does not
certify, where alpha is large, goes through `log_form.PathForm`: `alpha_continuation` along the
`central_path` with `newton` steps in logarithms, then `lexicographic_stages`, whose answers
`stage_merge` combines; `lp_optimality_check` finds gains that float64 prices cannot show.
`max_min_levels` has alpha = 0 and, level by level, inf: `level_programme` is the linear programme
of one level, `warm_level_programme` the same in a model that is kept, and `max_min_certificate`
judges any rates and prices.
"""
