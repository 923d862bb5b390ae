"""The k-DPP of a source of items, behind one door."""

import copy
import math
import warnings
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_choice, check_int, check_positive
from selectlib.subsets._chain import ChainKDPP
from selectlib.subsets._checks import check_indices, check_kernel, generator_for
from selectlib.subsets._covariance import Dictionary
from selectlib.subsets._dense import DenseKDPP
from selectlib.subsets._few_looks import FewLooksKDPP
from selectlib.subsets._kernels import Kernel
from selectlib.subsets._looked import LookedItems
from selectlib.subsets._plan import SamplingPlan
from selectlib.subsets._report import SamplingReport
from selectlib.subsets._sources import as_source

Method = Literal["auto", "direct", "alpha", "spectral", "mcmc"]
METHODS = ("auto", "direct", "alpha", "spectral", "mcmc")
SMALL_N = 2_000  # up to here an eigendecomposition is the faster and the more stable way
DENSE_N = 6_000  # beyond, it takes minutes and gigabytes


class KDPP:
    """Exact samples of k diverse items: ``Pr(S) = det L_S / e_k(L)`` for sets S of k, on all n items, looking at few.

    Parameters
    ----------
    source : ItemSource
        n items; anything that `as_source` takes.
    kernel : Kernel
        `RBF`, `Linear`, `Cosine`, `Precomputed`, `CallableKernel` or one's own; its values on the items make L.
    k : int
        Size of the samples, from 0 to the rank of L.
    method : {"auto", "direct", "alpha", "spectral", "mcmc"}, default "auto"
        "direct" and "alpha" look at few items and are exact; "direct" needs fewer looks, "alpha" is the paper's.
        "spectral" is exact by an eigendecomposition of the n x n kernel. "mcmc" is approximate: a chain of swaps.
        "auto" takes "spectral" up to 2,000 items, and up to 6,000 where "direct" would look at half of them; else
        "direct".
    oversample : float, default 4.0
        Of the dictionary's levels: items over effective dimension; and random looks of `fit` over αn, at least (k/2
        where that is more).
    dict_oversample : float, default 16.0
        Landmarks that span the final estimate of the covariance, over k. More make acceptance likelier, and each look
        dearer.
    t : int, optional
        Size of the intermediate sets of "direct", at least k. Default: max(k, ⌈k²/2⌉), which makes the fewest looks.
    r : float, optional
        Of "alpha": expected size of the intermediate sets, over the dictionary's effective dimension z. Default: z;
        z/2 makes the fewest looks.
    n_steps : int, optional
        Of "mcmc": steps of the chain. Default: n k.
    cache : bool, default True
        Keep the features of the items looked at; they are never fetched again. False keeps their indices only.
    generator : torch.Generator, optional
        Source of every draw; its device is where the computing is done. Default: seed 100, where the items are.

    Attributes
    ----------
    method_ : str
        The method that "auto" chose; set by `fit`.
    alpha_ : float
        The scale at which k is the expected size; set by `fit` for "direct" and "alpha".
    dictionary_ : Dictionary
        The items that span the estimate of the covariance; set by `fit` for "direct" and "alpha".

    Raises
    ------
    TypeError
        If `k` is not an int, or `source` or `kernel` is none.
    ValueError
        If a number is out of range or the method unknown.

    Notes
    -----
    Whatever the dictionary, samples of "direct", "alpha" and "spectral" are independent and have exactly the law above,
    up to rounding in float64. The law is that of the features as stored: a float32 source is taken at its float32
    values. One sample of "direct" takes about k · αn · e/2 looks, where αn does not grow with n, and O(k⁶) time;
    "alpha" needs about 1.2 √(2πk) times as many looks; "spectral" takes O(n³) time once, then O(nk) a sample. Source:
    Calandriello, Dereziński and Valko (NeurIPS 2020) for "alpha"; Kulesza and Taskar (2012) for "spectral"; "direct" is
    ours.

    Examples
    --------
    >>> import torch
    >>> from selectlib.subsets import KDPP, RBF
    >>> X = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(100))
    >>> sampler = KDPP(X, RBF(1.0), k=4).fit()
    >>> sampler.sample(3).shape
    torch.Size([3, 4])
    >>> sampler.report().fraction_looked < 0.2
    True
    """

    def __init__(
        self,
        source: Any,
        kernel: Kernel,
        k: int,
        *,
        method: Method = "auto",
        oversample: float | int = 4.0,
        dict_oversample: float | int = 16.0,
        t: int | None = None,
        r: float | int | None = None,
        n_steps: int | None = None,
        cache: bool = True,
        generator: torch.Generator | None = None,
    ):
        self.source, self.kernel = as_source(source), check_kernel(kernel)
        self.k = check_int("k", k, 0, len(self.source))
        self.method = check_choice("method", method, METHODS)
        self.oversample = check_positive("oversample", oversample)
        self.dict_oversample = check_positive("dict_oversample", dict_oversample)
        self.t = check_int("t", max(k, math.ceil(k * k / 2)) if t is None else t, k, None)
        self.r = None if r is None else check_positive("r", r)
        self.n_steps = check_int("n_steps", len(self.source) * k if n_steps is None else n_steps, 0, None)
        self.cache = cache
        self.generator = generator_for(self.source, generator)

    def fit(self, dictionary: Dictionary | None = None) -> "KDPP":
        """Choose the method, and learn what it needs before the first sample.

        Parameters
        ----------
        dictionary : Dictionary, optional
            Base "direct" or "alpha" on this dictionary, and never on another. It may be poor: that costs proposals,
            not exactness. Default: `bless`, refined by the items looked at later.

        Returns
        -------
        KDPP
            Itself.

        Raises
        ------
        ValueError
            If `k` is larger than the numerical rank, the kernel is not positive semi-definite or exceeds its
            `diag_bound`, or an item is not finite.

        Warns
        -----
        UserWarning
            If the first sample of "direct" or "alpha" is expected to look at half of the items or more.
        """
        n, method = len(self.source), self.method
        if method == "auto":
            method = "spectral" if n <= SMALL_N and dictionary is None else "direct"
        self._report = SamplingReport(method, n)
        self._log_ek: float | None = None
        self._way: DenseKDPP | ChainKDPP | FewLooksKDPP | None = None  # none is needed for k = 0
        with self._report.timed("dictionary"):
            if self.k and method == "mcmc":
                self._way = ChainKDPP(
                    self.source,
                    self.kernel,
                    self._report,
                    k=self.k,
                    n_steps=self.n_steps,
                    generator=self.generator,
                )
            elif self.k:
                self._looked = LookedItems(self.source, self.kernel, self.generator)
                if method != "spectral":
                    self._fit_few_looks(dictionary)
                if self._way is None:
                    self._way = DenseKDPP(self._looked, self._report, self.k)
        self.method_ = self._report.method
        return self

    def _fit_few_looks(self, dictionary: Dictionary | None) -> None:
        """Take the sublinear way, unless "auto" finds that it would look at half of the items."""
        way = FewLooksKDPP(
            self._looked,
            self._report,
            k=self.k,
            t=self.t,
            r=self.r,
            oversample=self.oversample,
            dict_oversample=self.dict_oversample,
            cache=self.cache,
            dictionary=dictionary,
        )
        looks, n = way.plan.expected_looks(), way.plan.n
        if looks >= n / 2 and self.method == "auto" and n <= DENSE_N:
            self._report.method = "spectral"
            return
        if looks >= n / 2:
            warnings.warn(
                f"the first sample is expected to look at {looks:,.0f} of {n:,} items; the kernel is too flat, or k "
                "too large, for few looks",
                UserWarning,
                stacklevel=3,
            )
        self._way, self.dictionary_, self.alpha_ = way, way.dictionary, way.prepare()

    def sample(
        self, n_samples: int = 1, *, batch: int | None = None, max_proposals: int | None = None
    ) -> Int[Tensor, "n_samples k"]:
        """Draw independent samples.

        Parameters
        ----------
        n_samples : int, default 1
            How many, at least 0.
        batch : int, optional
            At most so many intermediate sets at a time ("direct", "alpha"). Default: as many as samples are missing,
            and as fit in some 16 MB.
        max_proposals : int, optional
            Give up after so many intermediate sets. Default: 10,000, and 1,000 a sample.

        Returns
        -------
        Tensor of int64, shape (n_samples, k)
            Distinct indices, ascending in each sample; on the generator's device.

        Raises
        ------
        RuntimeError
            If `max_proposals` were not enough (no sample is returned then), or an acceptance probability exceeds 1.
        ValueError
            As `fit`, for items seen now.
        """
        check_int("n_samples", n_samples, 0, None)
        batch = None if batch is None else check_int("batch", batch, 1, None)
        limit = 10_000 + 1_000 * n_samples
        if max_proposals is not None:
            limit = check_int("max_proposals", max_proposals, 1, None)
        way = self._fitted()
        if way is None or n_samples == 0:
            return torch.empty(n_samples, self.k, dtype=torch.int64, device=self.generator.device)
        return way.sample(n_samples, batch, limit)

    def log_prob(self, S: Int[Tensor, "*b k"]) -> Float[Tensor, "*b"]:
        """Logarithm of the probability of the sets S.

        Parameters
        ----------
        S : Tensor of int64, shape ``(*b, k)``
            Indices of the items of each set, in any order.

        Returns
        -------
        Tensor of float64, shape ``(*b)``
            log det L_S - log e_k(L); -inf where S has a repeat or is linearly dependent. Exact for "spectral". For
            "direct" and "alpha", log e_k(L) is `kdpp_log_normalizer` of 1,000 proposals, estimated at the first call
            and kept: consistent, with the same error for all sets, so that differences are exact.

        Raises
        ------
        ValueError
            If `S` has another last dimension than k, or an index is out of range.
        TypeError
            If `S` holds no integers, or the method is "mcmc", which knows no normaliser.
        """
        S, way = self._check_sets(S), self._fitted()
        if way is None:
            return torch.zeros(S.shape[:-1], dtype=torch.float64, device=S.device)
        if self._log_ek is None:
            self._log_ek = way.log_ek()
        X = self._looked.features(self._looked.rows(S.flatten()).view(S.shape))
        sign, log_det = torch.linalg.slogdet(self.kernel(X, X))
        repeated = (S.sort(-1).values.diff(dim=-1) == 0).any(-1)
        return torch.where((sign > 0) & ~repeated, log_det, -math.inf) - self._log_ek

    def marginals(self, idx: Int[Tensor, "b"] | None = None) -> Float[Tensor, "b"]:
        """Probability of items to be in a sample.

        Parameters
        ----------
        idx : Tensor of int64, shape (b,), optional
            Which items; all n if left out.

        Returns
        -------
        Tensor of float64, shape (b,)
            Exact for "spectral". For "direct" and "alpha" the estimate b_iᵀ ∇log e_k(Ĉ) b_i of the dictionary, which
            is exact where Ĉ is the covariance of all items.

        Raises
        ------
        ValueError
            If an index is out of range.
        TypeError
            If the method is "mcmc".
        """
        n, device, way = len(self.source), self.generator.device, self._fitted()
        idx = torch.arange(n, device=device) if idx is None else check_indices("idx", idx, n).to(device)
        return torch.zeros(len(idx), dtype=torch.float64, device=device) if way is None else way.marginals(idx)

    def report(self) -> SamplingReport:
        """Account of the looks, proposals and time so far.

        Returns
        -------
        SamplingReport
            A copy: later samples do not change it.
        """
        self._fitted()
        if self.k and self.method_ != "mcmc":
            self._report.looks = self._looked.looks
        return copy.deepcopy(self._report)

    def plan(self) -> SamplingPlan | None:
        """Forecast of the looks that samples need, known after `fit`.

        Returns
        -------
        SamplingPlan or None
            None for the methods that look at all items.
        """
        way = self._fitted()
        return None if way is None else way.plan

    def _fitted(self) -> "DenseKDPP | ChainKDPP | FewLooksKDPP | None":
        if not hasattr(self, "_report"):
            self.fit()
        return self._way

    def _check_sets(self, S: Tensor) -> Tensor:
        if S.is_floating_point() or S.dtype == torch.bool:
            raise TypeError(f"S must hold integers, got {S.dtype}")
        if S.ndim < 1 or S.shape[-1] != self.k:
            raise ValueError(f"S must have shape (..., {self.k}), got {tuple(S.shape)}")
        return check_indices("S", S, len(self.source)).to(self.generator.device)
