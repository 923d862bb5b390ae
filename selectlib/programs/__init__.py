"""Update rules as programs: their language, the search over them, and the tasks that judge them."""

from selectlib.programs._builtin import ADAMW, DISCOVERED, LION
from selectlib.programs._char_task import CharTask
from selectlib.programs._evolution import RegularizedEvolution
from selectlib.programs._functions import FUNCTIONS, Function
from selectlib.programs._funnel import Funnel, FunnelResult, FunnelRow
from selectlib.programs._mlp_task import MLPTask
from selectlib.programs._mutate import Mutation, Mutator
from selectlib.programs._neighbourhood import neighbourhood
from selectlib.programs._optimizer import ProgramOptimizer
from selectlib.programs._program import Program, Simplification
from selectlib.programs._random_program import RandomPrograms, random_program
from selectlib.programs._search_state import Scored
from selectlib.programs._simplify import Rewriting
from selectlib.programs._statement import ProgramError, Statement
from selectlib.programs._task_mean import TaskMean, two_task_proxy
from selectlib.programs._torch_task import TorchTask

__all__ = [
    "ADAMW",
    "DISCOVERED",
    "FUNCTIONS",
    "LION",
    "CharTask",
    "Function",
    "Funnel",
    "FunnelResult",
    "FunnelRow",
    "MLPTask",
    "Mutation",
    "Mutator",
    "Program",
    "ProgramError",
    "ProgramOptimizer",
    "RandomPrograms",
    "RegularizedEvolution",
    "Rewriting",
    "Scored",
    "Simplification",
    "Statement",
    "TaskMean",
    "TorchTask",
    "neighbourhood",
    "random_program",
    "two_task_proxy",
]
