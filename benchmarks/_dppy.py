"""The peer: DPPy's samplers on the same items and the same kernel, with its progress bars off."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dppy.finite_dpps import FiniteDPP

# By name: mode, settings for k items, label. Beside the defaults, settings that its documentation offers for speed.
FEW_LOOKS = {
    "dppy_alpha": ("alpha", lambda k: {}, "DPPy alpha, defaults"),
    "dppy_alpha_early": ("alpha", lambda k: {"early_stop": True}, "DPPy alpha, early_stop"),
    "dppy_alpha_early_k": (
        "alpha",
        lambda k: {"early_stop": True, "rls_oversample_alphadpp": max(4.0, k)},
        "DPPy alpha, early_stop, oversampling max(4, k)",
    ),
    "dppy_vfx": ("vfx", lambda k: {}, "DPPy vfx, defaults"),
    "dppy_vfx_two": (
        "vfx",
        lambda k: {"rls_oversample_dppvfx": 2.0, "rls_oversample_bless": 2.0},
        "DPPy vfx, oversampling 2",
    ),
}
ALPHA = ["dppy_alpha", "dppy_alpha_early", "dppy_alpha_early_k"]
VFX = ["dppy_vfx", "dppy_vfx_two"]


@dataclass
class RBFKernel:
    """scale * exp(-gamma |x - y|²) on numpy arrays: one matrix product, then in place.

    With `counted`, the last column of an item is its index: it is noted and left out of the distance.
    """

    gamma: float
    scale: float = 1.0
    counted: bool = False
    looked: set[int] = field(default_factory=set)

    def __call__(self, X: np.ndarray, Y: np.ndarray | None = None) -> np.ndarray:
        X = self._features(X)
        Y = X if Y is None else self._features(Y)
        values = X @ Y.T
        values *= 2
        values -= np.square(X).sum(1)[:, None]
        values -= np.square(Y).sum(1)
        np.minimum(values, 0, out=values)  # rounding can make a squared distance negative
        values *= self.gamma
        np.exp(values, out=values)
        if self.scale != 1:
            values *= self.scale
        return values

    def diag(self, X: np.ndarray) -> np.ndarray:
        return np.full(len(X), self.scale)

    def _features(self, X: np.ndarray) -> np.ndarray:
        if not self.counted:
            return X
        self.looked.update(X[:, -1].astype(int).tolist())
        return X[:, :-1]


class Sampler:
    """One of DPPy's samplers, for sets of k; the first set makes it learn what it needs."""

    def __init__(self, X: np.ndarray, kernel: RBFKernel, k: int, seed: int, mode: str, **settings: Any):
        self._dpp = FiniteDPP("likelihood", L_eval_X_data=(kernel, X))
        self._k, self._mode, self._rng = k, mode, np.random.RandomState(seed)
        self._settings = {"verbose": False, **settings} if mode in ("alpha", "vfx") else settings

    @classmethod
    def of_eigenpairs(cls, eigvals: np.ndarray, eigvecs: np.ndarray, k: int, seed: int, mode: str) -> "Sampler":
        """A sampler that need not decompose the kernel."""
        sampler = cls(np.empty((1, 1)), RBFKernel(1.0), k, seed, mode)
        sampler._dpp = FiniteDPP("likelihood", L_eig_dec=(eigvals, eigvecs))
        return sampler

    def sample(self, number: int = 1) -> list[list[int]]:
        """Draw sets, one call each, as its users must."""
        draw = self._dpp.sample_exact_k_dpp
        return [draw(size=self._k, mode=self._mode, random_state=self._rng, **self._settings) for _ in range(number)]
