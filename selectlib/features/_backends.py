"""Which arithmetic computes moments and gradients, and the checks that all of them share."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import scipy.sparse as sp
import torch
from torch import Tensor

from selectlib._checks import check_choice, check_int
from selectlib.features._anova import anova_moments, anova_value_and_grad
from selectlib.features._chunk import chunk_moments, chunk_value_and_grad
from selectlib.features._gram import dense_moments, gram_value_and_grad
from selectlib.features._scan import scan_moments, scan_value_and_grad
from selectlib.features._sparse import sparse_moments, sparse_value_and_grad


class Backend(NamedTuple):
    """Two functions of ``(s, X, y, coeffs or order, *, mean, scale)``; `blocks`: whether they also take `chunk`."""

    value_and_grad: Callable[..., tuple[Tensor, Tensor]]
    moments: Callable[..., Tensor]
    blocks: bool = False


_BACKENDS = {
    ("chunk", 1): Backend(chunk_value_and_grad, chunk_moments, blocks=True),
    ("gram", 1): Backend(gram_value_and_grad, dense_moments),
    ("scan", 1): Backend(scan_value_and_grad, scan_moments),
    ("sparse", 1): Backend(sparse_value_and_grad, sparse_moments, blocks=True),
    ("gram", 2): Backend(partial(anova_value_and_grad, degree=2), partial(anova_moments, degree=2)),
    ("gram", 3): Backend(partial(anova_value_and_grad, degree=3), partial(anova_moments, degree=3)),
}
BACKENDS = ("auto", "chunk", "gram", "scan", "sparse")


def find_backend(X: Any, y: Any, s: Any, order: int, degree: Any, backend: Any, options: dict[str, Any]) -> Backend:
    """The functions for this problem, or an error; drops from `options` what is None."""
    check_choice("backend", backend, BACKENDS)
    check_int("degree", degree, 1, 3)
    sparse = is_sparse(X)
    _check_shapes(X, y, s, options["mean"], options["scale"])
    n = X.shape[0]
    least = max(order + 1, 4 if degree > 1 else 2)
    if n < least:
        raise ValueError(f"X must have at least {least} rows for order {order} and degree {degree}, got {n}")
    if options["chunk"] is not None:
        check_int("chunk", options["chunk"], 1)
    if backend == "auto":
        backend = "gram" if degree > 1 else "sparse" if sparse else "chunk"
    if (backend, degree) not in _BACKENDS:
        raise ValueError(f"backend must be auto or gram where degree is {degree}, got {backend!r}")
    if sparse and backend != "sparse":
        raise ValueError(f"X must be dense for degree {degree} and backend {backend!r}, got CSR")
    if backend == "sparse" and not sparse:
        raise ValueError("X must be CSR for backend 'sparse', got a dense tensor")
    found = _BACKENDS[backend, degree]
    if options["chunk"] is not None and not found.blocks:
        raise ValueError(f"chunk belongs to the backends chunk and sparse, got {options['chunk']} for {backend!r}")
    for name in [name for name, value in options.items() if value is None]:
        del options[name]
    return found


def is_sparse(X: Any) -> bool:
    """Whether X is a CSR matrix of scipy's or torch's."""
    return X.format == "csr" if sp.issparse(X) else isinstance(X, Tensor) and X.layout == torch.sparse_csr


def _check_shapes(X: Any, y: Any, s: Any, mean: Any, scale: Any) -> None:
    if not (is_sparse(X) or (isinstance(X, Tensor) and X.layout == torch.strided)):
        raise TypeError(f"X must be a dense tensor, or a CSR matrix of torch or scipy, got {type(X).__name__}")
    if len(X.shape) != 2 or 0 in X.shape:
        raise ValueError(f"X must have shape (n, d) with n and d at least 1, got {tuple(X.shape)}")
    if not isinstance(y, Tensor) or not y.is_floating_point():
        raise TypeError(f"y must be a tensor of floats, got {getattr(y, 'dtype', type(y).__name__)}")
    n, d = X.shape
    device = X.device if isinstance(X, Tensor) else torch.device("cpu")
    for name, value, shape in (("y", y, (n,)), ("s", s, (d,)), ("mean", mean, (d,)), ("scale", scale, (d,))):
        if value is None:
            continue
        if not isinstance(value, Tensor) or value.dtype != y.dtype:
            given = getattr(value, "dtype", type(value).__name__)
            raise TypeError(f"{name} must be a tensor of {y.dtype} like y, got {given}")
        if value.shape != shape or value.device != device:
            given = f"{tuple(value.shape)} on {value.device}"
            raise ValueError(f"{name} must have shape {shape} and be on {device} like X, got {given}")
    if isinstance(X, Tensor) and X.dtype != y.dtype:
        raise TypeError(f"X must hold {y.dtype} like y, got {X.dtype}")
