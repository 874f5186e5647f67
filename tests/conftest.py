"""What holds for every test.

`make test` draws the same examples for everybody: whoever sees it fail can show it to others.
`make explore` draws new ones each time, and twice as many where a test does not set their number.
"""

from hypothesis import settings

# A first call may compile, import or wait for a busy machine: time says nothing about being right.
settings.register_profile("fairopt", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=200, print_blob=True)
settings.load_profile("fairopt")
