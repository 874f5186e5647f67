"""What holds for every test.

`make test` draws the same examples for everybody: whoever sees it fail can show it to others.
`make explore` draws new ones each time, and twice as many where a test does not set their number.
`proofs.mutations` draws the same ones, and does not make a failing one smaller: it asks whether
there is one.
"""

from hypothesis import Phase, settings

# A first call may compile, import or wait for a busy machine: time says nothing about being right.
settings.register_profile("fairopt", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=200, print_blob=True)
settings.register_profile(
    "seeded",
    settings.get_profile("fairopt"),
    phases=(Phase.explicit, Phase.generate),
    report_multiple_bugs=False,
)
settings.load_profile("fairopt")
