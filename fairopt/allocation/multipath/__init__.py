"""Flows that may split over several paths: problem, residual, certificate, and the methods.

`api` states the public functions, `result` what they return, `reused_problem` is a problem to solve
again and again, `stated` writes limits and weights as links and units, `problem` has the residual
of any point and `certificate` a bound of the error of every rate. `reduced` leaves out what is
closed, `solve` chooses the method, and `answers` gives a point its residual and status.

Finite alpha is solved by `direct`: `presolve` drops what decides nothing, `interior` follows the
central path with Newton steps in `link_space`, `polish` gives the last digits; from the answer of
a similar problem (`warm_start`) the polish comes first. What float64 does
not certify, as prices differ by too much where alpha is large, is solved by
`decimal_continuation`: `decimal_polish` with Newton steps in `decimal_form`, in as many digits as
prices take, and the certificate in `decimal_certificate`.
`max_min` is alpha = inf; `max_min_levels` has alpha = 0 and, level by level, inf: `level_programme`
is the linear programme of one level, `warm_level_programme` the same in a model that is kept, and
`max_min_certificate` judges any rates and prices.
"""
