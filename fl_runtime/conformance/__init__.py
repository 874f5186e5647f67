"""Laws that parts keep whoever wrote them, and a check for every kind that decides something.

`check_algorithm` and its siblings return the laws that a part breaks, each with a witness; an empty
list means that none was found broken. They try small cases, so they prove nothing, but what they
name is wrong. `check_rule` is the audit of auctions (`python -m mechanisms audit`) in this form.
"""

from fl_runtime.conformance.aggregations import check_aggregation
from fl_runtime.conformance.algorithms import check_algorithm
from fl_runtime.conformance.broken import Broken
from fl_runtime.conformance.losses import check_loss
from fl_runtime.conformance.metrics import check_metric
from fl_runtime.conformance.parts import (
    check_availability,
    check_cost_law,
    check_delay,
    check_partition,
)
from fl_runtime.conformance.rules import check_rule
from fl_runtime.conformance.trainers import check_trainer
from fl_runtime.conformance.training_parts import check_sampling, check_schedule

__all__ = [
    "Broken",
    "check_aggregation",
    "check_algorithm",
    "check_availability",
    "check_cost_law",
    "check_delay",
    "check_loss",
    "check_metric",
    "check_partition",
    "check_rule",
    "check_sampling",
    "check_schedule",
    "check_trainer",
]
