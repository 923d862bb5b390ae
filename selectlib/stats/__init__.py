"""The statistics behind the book's claims: thin, typed covers of ``scipy.stats``.

Every interval is two-sided. The fields of an `Interval` or a `PairedResult` are the arguments of
`selectlib.claims.record`, so that ``record("kdpp/exactness/tv", **vars(mean_interval(x)))`` records one.
"""

from selectlib.stats._comparisons import PairedResult, equivalence_test, holm, minimum_detectable_effect, paired_test
from selectlib.stats._groups import bootstrap_groups, growth_exponent
from selectlib.stats._intervals import Interval, bootstrap_interval, mean_interval, proportion_interval
from selectlib.stats._laws import ChiSquareFit, chi_square_fit, distance_interval
from selectlib.stats._rank_correlation import rank_correlation
from selectlib.stats._ranks import RankTest, rank_test

__all__ = [
    "ChiSquareFit",
    "Interval",
    "PairedResult",
    "RankTest",
    "bootstrap_groups",
    "bootstrap_interval",
    "chi_square_fit",
    "distance_interval",
    "equivalence_test",
    "growth_exponent",
    "holm",
    "mean_interval",
    "minimum_detectable_effect",
    "paired_test",
    "proportion_interval",
    "rank_correlation",
    "rank_test",
]
