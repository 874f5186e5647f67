"""What holds for every test."""

from hypothesis import settings

# A first call may compile, import or wait for a busy machine: time says nothing about being right.
settings.register_profile("fairopt", deadline=None)
settings.load_profile("fairopt")
