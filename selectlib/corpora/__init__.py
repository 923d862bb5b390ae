"""Which training data: what each example would do for a target, and selections made by it."""

from selectlib.corpora._budget import within_token_budget
from selectlib.corpora._classifier import ClassifierSelector
from selectlib.corpora._dsdm import DsDmSelector
from selectlib.corpora._dsir import DSIRSelector
from selectlib.corpora._estimator import DatamodelEstimator
from selectlib.corpora._lds import LDSResult, draw_subsets, linear_datamodeling_score
from selectlib.corpora._lds_comparison import LDSComparison, compare_lds
from selectlib.corpora._multiplier import Multiplier, compute_multiplier
from selectlib.corpora._ngrams import HashedNGrams
from selectlib.corpora._outputs import CausalLMMargin, CorrectClassMargin, NegativeLoss, OutputFunction
from selectlib.corpora._overlap import ngram_overlap
from selectlib.corpora._projector import JLProjector
from selectlib.corpora._regressor import DatamodelRegressor
from selectlib.corpora._scores import ScoreVector
from selectlib.corpora._semdedup import SemDeDupSelector
from selectlib.corpora._store import ScoreStore, Shard

__all__ = [
    "CausalLMMargin",
    "ClassifierSelector",
    "CorrectClassMargin",
    "DSIRSelector",
    "DatamodelEstimator",
    "DatamodelRegressor",
    "DsDmSelector",
    "HashedNGrams",
    "JLProjector",
    "LDSComparison",
    "LDSResult",
    "Multiplier",
    "NegativeLoss",
    "OutputFunction",
    "ScoreStore",
    "ScoreVector",
    "SemDeDupSelector",
    "Shard",
    "compare_lds",
    "compute_multiplier",
    "draw_subsets",
    "linear_datamodeling_score",
    "ngram_overlap",
    "within_token_budget",
]
