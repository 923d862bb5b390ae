"""Which samples of a new domain to label: energy-based queries, their rivals, and the loop that trains in between."""

from selectlib.queries._active import ActiveDA
from selectlib.queries._alignment import FreeEnergyAlignment
from selectlib.queries._arm import Arm, Outcome
from selectlib.queries._badge import BADGE
from selectlib.queries._budgets import round_sizes
from selectlib.queries._clue import CLUE
from selectlib.queries._coreset import CoreSet
from selectlib.queries._eada import EADA
from selectlib.queries._energies import energy_nll, free_energy, mvsm
from selectlib.queries._history import History
from selectlib.queries._oracle import Grades, LabelOracle
from selectlib.queries._registry import get_strategy, list_strategies
from selectlib.queries._replicas import Replicas
from selectlib.queries._scores import Entropy, FreeEnergy, LeastConfidence, Margin, MvSM
from selectlib.queries._shift import ShiftReport, shift_report
from selectlib.queries._skactiveml import as_skactiveml
from selectlib.queries._study import run_study
from selectlib.queries._tasks import AdaptationTask, Annotator
from selectlib.queries._then import Then

__all__ = [
    "BADGE",
    "CLUE",
    "EADA",
    "ActiveDA",
    "AdaptationTask",
    "Annotator",
    "Arm",
    "CoreSet",
    "Entropy",
    "FreeEnergy",
    "FreeEnergyAlignment",
    "Grades",
    "History",
    "LabelOracle",
    "LeastConfidence",
    "Margin",
    "MvSM",
    "Outcome",
    "Replicas",
    "ShiftReport",
    "Then",
    "as_skactiveml",
    "energy_nll",
    "free_energy",
    "get_strategy",
    "list_strategies",
    "mvsm",
    "round_sizes",
    "run_study",
    "shift_report",
]
