"""What must be right before the Feature Gradients benchmark times anything: equal scores."""

import numpy as np
import torch
from _feature_gradients_rows import dense, sparse
from _feature_gradients_scan import columns_first, scan_of_columns
from _setting import SEED, Setting
from torch import Tensor

from selectlib.data import make_ar1
from selectlib.features import FeatureGradientSelector, polynomial_coefficients, value_and_grad
from selectlib.seeding import generator


def correctness(setting: Setting) -> dict[str, dict]:
    """Every backend against the authors' order of arithmetic, and the searches that rest on both.

    Raises
    ------
    RuntimeError
        If something is wrong: then nothing is timed.
    """
    checks = {}
    for name, dtype, allowed in (("float64", torch.float64, 1e-10), ("float32", torch.float32, 1e-4)):
        for backend in ("chunk", "gram"):
            checks[f"{backend}_{name}"] = backends(setting, backend, dtype) | {"allowed": allowed}
    checks |= {
        "columns": columns(setting),
        "sparse": sparse_rows(),
        "published": published(),
        "search": searches(setting),
    }
    for check in checks.values():
        if not check["error"] <= check["allowed"]:
            raise RuntimeError(f"{check['label']}: {check['error']:.2g}; nothing is timed")
    return checks


def off(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> float:
    """The larger of the relative differences of the values and, in length, of the gradients."""
    value = (ours[0] - theirs[0]).abs() / theirs[0].abs()
    gradient = (ours[1] - theirs[1]).norm() / theirs[1].norm()
    return float(torch.maximum(value, gradient))


def backends(setting: Setting, backend: str, dtype: torch.dtype) -> dict:
    errors, count = [], 0
    for n, d in ((101, 23), (300, 700)):
        for order in (1, 4, 8):
            step = dense(n, d, SEED, dtype, setting.device, order)
            theirs = value_and_grad(*step, backend="scan")
            errors.append(off(value_and_grad(*step, backend=backend), theirs))
            count += d + 1
    name = str(dtype).removeprefix("torch.")
    label = f"value and gradient, {backend} and scan, relative, {name}"
    return {"label": label, "n": count, "error": max(errors)}


def columns(setting: Setting) -> dict:
    """The scan with another layout."""
    step = dense(101, 123, SEED, torch.float64, setting.device)
    error = off(scan_of_columns(columns_first(step)), value_and_grad(*step, backend="scan"))
    label = "value and gradient, scan of columns and scan, relative, float64"
    return {"label": label, "n": 124, "error": error, "allowed": 1e-10}


def sparse_rows() -> dict:
    """Implicitly centred sparse rows against the same rows written out."""
    s, X, y, coeffs, mean, scale, rows = sparse(200, 1_000, 20, SEED, torch.float64)
    ours = value_and_grad(s, X, y, coeffs, mean=mean, scale=scale, backend="sparse")
    error = off(ours, value_and_grad(s, rows, y, coeffs, backend="scan"))
    return {"label": "value and gradient, sparse and scan, relative, float64", "n": 1_001} | {
        "error": error,
        "allowed": 1e-10,
    }


def published() -> dict:
    """The polynomials of our coefficients and of the authors', which agree to the printed digits of a solver."""
    x = np.linspace(0, 1, 101)
    errors = []
    for order in range(1, 6):
        gap = polynomial_coefficients(order) - polynomial_coefficients(order, method="published")
        errors.append(float(abs(x**2 * np.polynomial.polynomial.polyval(x, gap)).max()))
    return {"label": "polynomials of orders 1 to 5 from 0 to 1, ours and the published", "n": 5 * len(x)} | {
        "error": max(errors),
        "allowed": 1e-4,
    }


def searches(setting: Setting) -> dict:
    """A whole search by either arithmetic: the masks that it ends with."""
    X, y, _ = make_ar1(400, 120, generator=generator(SEED))
    arrays = X.numpy(), y.numpy()
    scores = [search(backend, setting.device, "float64").fit(*arrays).scores_ for backend in ("auto", "scan")]
    error = float(abs(scores[0] - scores[1]).max())
    return {"label": "masks after a search, ours and scan, float64", "n": 120, "error": error, "allowed": 1e-6}


def search(backend: str, device: torch.device, dtype: str = "float32", **options) -> FeatureGradientSelector:
    """One epoch and no more, or what `options` say, with a penalty of 1 as in NNI."""
    options = {"penalty": 1.0, "max_epochs": 1, "min_steps": 1, "random_state": SEED} | options
    return FeatureGradientSelector(backend=backend, device=str(device), dtype=dtype, **options)
