"""Laws that parts keep whoever wrote them: algorithms, partitions, delays, availabilities, costs.

`check_algorithm` and its siblings return the laws that a part breaks, each with a witness; an empty
list means that none was found broken. They try small cases, so they prove nothing, but what they
name is wrong. Recruitment rules have the auction audit (`python -m mechanisms audit`).
"""

from fl_runtime.conformance.algorithms import check_algorithm
from fl_runtime.conformance.broken import Broken
from fl_runtime.conformance.parts import (
    check_availability,
    check_cost_law,
    check_delay,
    check_partition,
)
from fl_runtime.conformance.trainers import check_trainer

__all__ = [
    "Broken",
    "check_algorithm",
    "check_availability",
    "check_cost_law",
    "check_delay",
    "check_partition",
    "check_trainer",
]
