"""Alpha-fair allocation, step by step: problem, scaling, judge, and one file per method.

The public names are in `fairopt.allocation`. A `problem.Problem` is what the caller stated;
`scaling.Scaled` is the same problem without units, which all methods work on. `paths` has
the same for flows that may split over several paths.
"""
