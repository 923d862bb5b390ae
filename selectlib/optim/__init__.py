"""Optimisers: Lion, and what it takes to move to it from AdamW."""

from selectlib.optim._functional import lion
from selectlib.optim._lion import Lion
from selectlib.optim._report import BoxReport, box_report
from selectlib.optim._transfer import convert_adamw_state, lion_from_adamw

__all__ = [
    "BoxReport",
    "Lion",
    "box_report",
    "convert_adamw_state",
    "lion",
    "lion_from_adamw",
]
