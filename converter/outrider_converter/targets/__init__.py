"""Targets are data: what kind of machine a variant is for, and what that asks of the conversion."""

from outrider_converter.targets.catalogue import built_in, load_targets
from outrider_converter.targets.constraints import check_memory, check_operators
from outrider_converter.targets.plan import Plan, channel_multiple, formats, plans, unavailable
from outrider_converter.targets.target import Operators, Scheme, Target, contradictions

__all__ = [
    "Operators",
    "Plan",
    "Scheme",
    "Target",
    "built_in",
    "channel_multiple",
    "check_memory",
    "check_operators",
    "contradictions",
    "formats",
    "load_targets",
    "plans",
    "unavailable",
]
