"""Algorithms that stand for others where a test plays whole runs of every one.

The rest differ from one of these in the table that names their direction and in nothing else; what
that table does is tested in `algorithms/test_loss_weights.py` and `test_shared_trunk.py`, on every
one of them.
"""

from fl_runtime.algorithms import ALGORITHMS

ALIKE = {
    "gradvac": "pcgrad",
    "rlw": "pcgrad",
    "aligned-mtl": "mgda",
    "imtl-g": "mgda",
    "scale-invariant": "linear-scalarisation",
    "dwa": "linear-scalarisation",
    "uw": "linear-scalarisation",
    "imtl-l": "linear-scalarisation",
    "famo": "linear-scalarisation",
}
REPRESENTATIVES = [name for name in ALGORITHMS if name not in ALIKE]
