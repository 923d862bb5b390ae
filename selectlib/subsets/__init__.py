"""Diverse subsets: exact k-DPP sampling that looks at few items, and the samplers to compare it with."""

from selectlib.subsets._covariance import Dictionary
from selectlib.subsets._dpp import DPP
from selectlib.subsets._esp import log_esp
from selectlib.subsets._greedy import greedy_map
from selectlib.subsets._greedy_selector import GreedyMAPSelector
from selectlib.subsets._kdpp import KDPP
from selectlib.subsets._kernels import RBF, CallableKernel, Cosine, Kernel, Linear, Precomputed
from selectlib.subsets._leverage import bless, ridge_leverage_scores
from selectlib.subsets._mcmc import k_dpp_mcmc
from selectlib.subsets._normalizer import effective_dimension, kdpp_log_normalizer
from selectlib.subsets._plan import SamplingPlan
from selectlib.subsets._report import SamplingReport
from selectlib.subsets._selector import DPPSelector
from selectlib.subsets._sources import CountingSource, ItemSource, as_source
from selectlib.subsets._spectral import kdpp_marginals
from selectlib.subsets._uniform import enumerate_kdpp, tv_of_uniform_subsample, uniform_subsample_kdpp

__all__ = [
    "DPP",
    "KDPP",
    "RBF",
    "CallableKernel",
    "Cosine",
    "CountingSource",
    "DPPSelector",
    "Dictionary",
    "GreedyMAPSelector",
    "ItemSource",
    "Kernel",
    "Linear",
    "Precomputed",
    "SamplingPlan",
    "SamplingReport",
    "as_source",
    "bless",
    "effective_dimension",
    "enumerate_kdpp",
    "greedy_map",
    "k_dpp_mcmc",
    "kdpp_log_normalizer",
    "kdpp_marginals",
    "log_esp",
    "ridge_leverage_scores",
    "tv_of_uniform_subsample",
    "uniform_subsample_kdpp",
]
