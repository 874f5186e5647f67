"""A second implementation of the runtime's loop in plain NumPy, for comparison.

Written from the equations of the papers' notes and from `docs/configuration.md`, and structured as
they are, not as the runtime is: one mutable `World`, one class per family of algorithms, models as
dictionaries of float64 arrays. Nothing of `fl_runtime` is imported but the named random streams,
the recruitment (it has a twin of its own), and by `product`, which runs the other side.

`data`, `nets`, `local`, `directions`: tasks, models, local training, directions of trunks;
`clock`: who is there and how long jobs take; `world`, `loop`: a run; `rounds`, `trunks`,
`arrivals`, `personal`, `hca`, `ram`: algorithms; `product`, `agreement`: the comparison; `draws`:
random configurations; `wrong`: twins with a mistake, which the comparison must tell.

Many of them: ``python -m tests.fl_runtime.twin.many 1000``.
"""
