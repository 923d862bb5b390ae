"""The dense way: look at all items, and decompose their n x n kernel."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.subsets._esp import kdpp_spectrum
from selectlib.subsets._looked import LookedItems
from selectlib.subsets._report import SamplingReport
from selectlib.subsets._spectral import check_size, eigh_psd, sample_dpp_dense, sample_kdpp_dense

_CHUNK = 1_000  # samples of random size drawn at once


class DenseKernel:
    """Eigenpairs of the kernel of all items: O(n³) time, O(n²) memory.

    Parameters
    ----------
    looked : LookedItems
        Will hold all items.
    report : SamplingReport
        Kept up to date.
    """

    def __init__(self, looked: LookedItems, report: SamplingReport):
        looked.look_at_all()
        X = looked.features(looked.rows(torch.arange(looked.n, device=looked.device)))
        self.eigvals, self.eigvecs = eigh_psd(looked.kernel(X, X).to(torch.float64), "kernel")
        self._generator, self._report = looked.generator, report
        report.looks = looked.looks

    def sample_size(self, k: int, n_samples: int) -> Int[Tensor, "n_samples k"]:
        """Samples of the k-DPP."""
        with self._report.timed("drawing"):
            samples = sample_kdpp_dense(self.eigvals, self.eigvecs, k, n_samples=n_samples, generator=self._generator)
        self._report.samples += n_samples
        return samples

    def sample_any_size(self, alpha: float, n_samples: int) -> list[Int[Tensor, "_"]]:
        """Samples of DPP(αL)."""
        samples: list[Tensor] = []
        with self._report.timed("drawing"):
            for start in range(0, n_samples, _CHUNK):
                count = min(_CHUNK, n_samples - start)
                chosen = sample_dpp_dense(
                    alpha * self.eigvals, self.eigvecs, n_samples=count, generator=self._generator
                )
                samples += chosen.nonzero()[:, 1].split(chosen.sum(-1).tolist())
        self._report.samples += n_samples
        return samples

    def marginals(self, weights: Float[Tensor, "n"], idx: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Σ_j V_ij² weights_j."""
        return self.eigvecs[idx].square() @ weights


class DenseKDPP:
    """Exact k-DPP of a dense kernel, as `KDPP` drives it."""

    plan = None

    def __init__(self, looked: LookedItems, report: SamplingReport, k: int):
        self._kernel, self._k = DenseKernel(looked, report), k
        check_size(k, self._kernel.eigvals)

    def sample(self, n_samples: int, batch: int | None, max_proposals: int) -> Int[Tensor, "n_samples k"]:
        """Independent samples; there are no proposals here to be limited."""
        return self._kernel.sample_size(self._k, n_samples)

    def log_ek(self) -> float:
        """log e_k(L)."""
        return float(kdpp_spectrum(self._kernel.eigvals, self._k).log_ek)

    def marginals(self, idx: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Pr(i ∈ S)."""
        return self._kernel.marginals(kdpp_spectrum(self._kernel.eigvals, self._k).pi, idx)
