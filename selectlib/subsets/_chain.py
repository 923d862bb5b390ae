"""The approximate way: chains of swaps, one for each sample."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.pool import ItemSource
from selectlib.subsets._kernels import Kernel
from selectlib.subsets._mcmc import k_dpp_mcmc
from selectlib.subsets._report import SamplingReport
from selectlib.subsets._sources import CountingSource


class ChainKDPP:
    """`k_dpp_mcmc` from the greedy start, as `KDPP` drives it."""

    plan = None

    def __init__(
        self,
        source: ItemSource,
        kernel: Kernel,
        report: SamplingReport,
        *,
        k: int,
        n_steps: int,
        generator: torch.Generator,
    ):
        self._source, self._kernel, self._report = CountingSource(source), kernel, report
        self._k, self._n_steps, self._generator = k, n_steps, generator

    def sample(self, n_samples: int, batch: int | None, max_proposals: int) -> Int[Tensor, "n_samples k"]:
        """The ends of `n_samples` chains."""
        with self._report.timed("drawing"):
            samples = k_dpp_mcmc(
                self._source,
                self._k,
                self._n_steps,
                kernel=self._kernel,
                chains=n_samples,
                generator=self._generator,
            )
        self._report.samples += n_samples
        self._report.looks = self._source.n_looked
        return samples

    def log_ek(self) -> float:
        """A chain knows ratios of probabilities only."""
        raise TypeError("method 'mcmc' has no log_prob; fit 'spectral', 'direct' or 'alpha'")

    def marginals(self, idx: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Nor does it know marginals."""
        raise TypeError("method 'mcmc' has no marginals; fit 'spectral', 'direct' or 'alpha'")
