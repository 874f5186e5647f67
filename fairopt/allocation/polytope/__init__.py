"""Alpha-fair utilities x = T z on a polytope G z <= h, A z = b, z >= 0.

`api` states the public functions and `result` what they return; `problem` is the checked problem,
`certificate` judges any point of it without a solver, `solve` chooses the method and gives the
status. `units` states it in units of its own right-hand sides, and `farkas` verifies proofs that
it is empty. `equalities` drops redundant equalities, `scaling` chooses units for the numerics,
`interior_point` follows the central path on the systems of `newton_system`, `face` finds what is
empty, forced to zero or unlimited, `levels` has max-min and `linear_programme` alpha = 0;
`records` are answers that need no method.
"""
