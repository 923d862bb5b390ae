"""Which columns of a table, a text or a stream carry the signal."""

from selectlib.features._kernel_scale import kernel_scale
from selectlib.features._learnability import LearnabilityResult, learnability
from selectlib.features._mission import Mission
from selectlib.features._moments import gram_moments
from selectlib.features._one_pass import one_pass_logistic_auc
from selectlib.features._path import PenaltyPath
from selectlib.features._polynomial import polynomial_coefficients
from selectlib.features._relief import relief_f
from selectlib.features._selector import FeatureGradientSelector
from selectlib.features._value_and_grad import MaskedLearnability, value_and_grad

__all__ = [
    "FeatureGradientSelector",
    "LearnabilityResult",
    "MaskedLearnability",
    "Mission",
    "PenaltyPath",
    "gram_moments",
    "kernel_scale",
    "learnability",
    "one_pass_logistic_auc",
    "polynomial_coefficients",
    "relief_f",
    "value_and_grad",
]
