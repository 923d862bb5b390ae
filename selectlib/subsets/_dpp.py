"""The DPP of random size of a source of items."""

import copy
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_choice, check_int, check_positive
from selectlib.subsets._alpha import AlphaSampler
from selectlib.subsets._checks import check_indices, check_kernel, generator_for
from selectlib.subsets._covariance import Covariance, Dictionary, dictionary_covariance
from selectlib.subsets._dense import DenseKernel
from selectlib.subsets._estimate import alpha_for, first_estimate, sharpen
from selectlib.subsets._kernels import Kernel
from selectlib.subsets._leverage import leverage, look_at_least
from selectlib.subsets._looked import LookedItems
from selectlib.subsets._report import SamplingReport
from selectlib.subsets._sources import as_source

SMALL_N = 2_000
_LOOKS_FOR_SIZE = 2_000  # so that α gives the size asked for within some percent


class DPP:
    """Exact samples of diverse items, of random size: Pr(S) = det(αL)_S / det(I + αL), on all n items.

    Parameters
    ----------
    source : ItemSource
        n items; anything that `as_source` takes.
    kernel : Kernel
        Its values on the items make L.
    expected_size : float, optional
        Choose α, up or down, so that a sample has this size on average: Σ_j αλ_j / (1 + αλ_j). Must be below the rank.
        Default: α = 1.
    method : {"auto", "alpha", "spectral"}, default "auto"
        "alpha" looks at few items; "spectral" decomposes the n x n kernel; "auto" takes "spectral" up to 2,000 items.
    oversample, dict_oversample, r, cache
        As in `KDPP`.
    generator : torch.Generator, optional
        Source of every draw; its device is where the computing is done. Default: seed 100, where the items are.

    Attributes
    ----------
    alpha_ : float
        α; set by `fit`. The samples have exactly the law above with this α. With "alpha" and `expected_size` it is an
        estimate, so that the mean size is close to what was asked, not equal.
    method_ : str
        The method that "auto" chose; set by `fit`.
    dictionary_ : Dictionary
        Set by `fit` for "alpha".

    Raises
    ------
    TypeError
        If `source` or `kernel` is none.
    ValueError
        If a number is out of range or the method unknown.

    Notes
    -----
    "alpha" needs about z · n κ² α · √e looks a sample, z the mean size, and O(z⁶) time. Source: Calandriello,
    Dereziński and Valko (NeurIPS 2020); Hough et al. (2006) for "spectral".

    Examples
    --------
    >>> import torch
    >>> from selectlib.subsets import DPP, RBF
    >>> X = torch.randn(500, 2, generator=torch.Generator().manual_seed(100))
    >>> samples = DPP(X, RBF(1.0), expected_size=6).sample(200)
    >>> 5 < sum(len(S) for S in samples) / 200 < 7
    True
    """

    def __init__(
        self,
        source: Any,
        kernel: Kernel,
        *,
        expected_size: float | int | None = None,
        method: Literal["auto", "alpha", "spectral"] = "auto",
        oversample: float | int = 4.0,
        dict_oversample: float | int = 16.0,
        r: float | int | None = None,
        cache: bool = True,
        generator: torch.Generator | None = None,
    ):
        self.source, self.kernel = as_source(source), check_kernel(kernel)
        self.expected_size = None if expected_size is None else check_positive("expected_size", expected_size)
        self.method = check_choice("method", method, ("auto", "alpha", "spectral"))
        self.oversample = check_positive("oversample", oversample)
        self.dict_oversample = check_positive("dict_oversample", dict_oversample)
        self.r = None if r is None else check_positive("r", r)
        self.cache = cache
        self.generator = generator_for(self.source, generator)

    def fit(self, dictionary: Dictionary | None = None) -> "DPP":
        """Choose the method, and learn what it needs before the first sample.

        Parameters
        ----------
        dictionary : Dictionary, optional
            Base "alpha" on this dictionary, and never on another; see `KDPP.fit`.

        Returns
        -------
        DPP
            Itself.

        Raises
        ------
        ValueError
            If `expected_size` is not below the numerical rank, the kernel is not positive semi-definite or exceeds its
            `diag_bound`, or an item is not finite.
        """
        n = len(self.source)
        self._dense: DenseKernel | None = None
        self._few: AlphaSampler | None = None
        small = self.method == "auto" and n <= SMALL_N and dictionary is None
        self.method_ = "spectral" if self.method == "spectral" or small else "alpha"
        self._report = SamplingReport(self.method_, n)
        self._looked = LookedItems(self.source, self.kernel, self.generator)
        with self._report.timed("dictionary"):
            if self.method_ == "spectral":
                self._dense = DenseKernel(self._looked, self._report)
                positive = self._dense.eigvals[self._dense.eigvals > 0]
                self.alpha_ = self._scale(Covariance(self.kernel, positive[:, None], positive.diag(), positive))
            else:
                self._fit_few_looks(dictionary)
        self._report.looks = self._report.dictionary_looks = self._looked.looks
        return self

    def _fit_few_looks(self, dictionary: Dictionary | None) -> None:
        looked, landmarks = self._looked, self.dict_oversample if dictionary is None else None
        if dictionary is not None:
            self.dictionary_, covariance = dictionary, dictionary_covariance(self.kernel, dictionary)
        else:
            size = None if self.expected_size is None else max(1, round(self.expected_size))
            alpha = 1.0 if size is None else None
            self.dictionary_, covariance = first_estimate(looked, k=size, alpha=alpha, oversample=self.oversample)
            look_at_least(looked, _LOOKS_FOR_SIZE if size else 0)
            covariance = sharpen(
                looked, covariance, k=size or 0, alpha=alpha, draws=self.oversample, landmarks=self.dict_oversample
            )
        self.alpha_ = self._scale(covariance)
        self._report.landmarks = len(covariance.landmarks)
        self._few = AlphaSampler(
            looked, covariance, self._report, k=None, alpha=self.alpha_, r=self.r, landmarks=landmarks, cache=self.cache
        )

    def _scale(self, covariance: Covariance) -> float:
        """α with Σ αλ / (1 + αλ) = expected_size."""
        if self.expected_size is None:
            return 1.0
        rank = len(covariance.eigvals)
        if covariance.outside <= 1e-9 * float(covariance.eigvals.sum()) and self.expected_size >= rank:
            raise ValueError(
                f"expected_size must be below the numerical rank of the kernel, {rank}, got {self.expected_size}"
            )
        return alpha_for(covariance, self.expected_size)

    def sample(
        self, n_samples: int = 1, *, batch: int | None = None, max_proposals: int | None = None
    ) -> list[Int[Tensor, "_"]]:
        """Draw independent samples.

        Parameters
        ----------
        n_samples : int, default 1
            How many, at least 0.
        batch, max_proposals
            As in `KDPP.sample`.

        Returns
        -------
        list of Tensor of int64
            Each with distinct indices, ascending; a sample may be empty.

        Raises
        ------
        RuntimeError
            If `max_proposals` were not enough, or an acceptance probability exceeds 1.
        ValueError
            As `fit`, for items seen now.
        """
        check_int("n_samples", n_samples, 0, None)
        batch = None if batch is None else check_int("batch", batch, 1, None)
        limit = 10_000 + 1_000 * n_samples
        if max_proposals is not None:
            limit = check_int("max_proposals", max_proposals, 1, None)
        self._fitted()
        if self._few is not None:
            return self._few.sample(n_samples, batch, limit)
        assert self._dense is not None
        return self._dense.sample_any_size(self.alpha_, n_samples)

    def marginals(self, idx: Int[Tensor, "b"] | None = None) -> Float[Tensor, "b"]:
        """Probability of items to be in a sample: ridge leverage scores at 1/α.

        Parameters
        ----------
        idx : Tensor of int64, shape (b,), optional
            Which items; all n if left out.

        Returns
        -------
        Tensor of float64, shape (b,)
            Exact for "spectral"; the dictionary's estimate for "alpha".

        Raises
        ------
        ValueError
            If an index is out of range.
        """
        self._fitted()
        n, device = len(self.source), self.generator.device
        idx = torch.arange(n, device=device) if idx is None else check_indices("idx", idx, n).to(device)
        if self._dense is not None:
            lam = self.alpha_ * self._dense.eigvals
            return self._dense.marginals(lam / (1 + lam), idx)
        assert self._few is not None
        rows = self._looked.rows(idx)
        X, diag = self._looked.features(rows), self._looked.diag[rows]
        return leverage(self._few.covariance, X, diag, 1 / self.alpha_)

    def report(self) -> SamplingReport:
        """Account of the looks, proposals and time so far.

        Returns
        -------
        SamplingReport
            A copy: later samples do not change it.
        """
        self._fitted()
        self._report.looks = self._looked.looks
        return copy.deepcopy(self._report)

    def _fitted(self) -> None:
        if not hasattr(self, "_report"):
            self.fit()
