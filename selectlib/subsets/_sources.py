"""Where items come from: anything that hands out the features of the items one asks for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.pool import ItemSource


class TensorSource:
    """Rows of a tensor, wherever it lies."""

    def __init__(self, X: Tensor):
        self._X = X
        self.device = X.device

    def __len__(self) -> int:
        return len(self._X)

    def fetch(self, idx: Int[Tensor, "b"]) -> Float[Tensor, "b d"]:
        return _as_rows(self._X[idx.to(self.device)])


class ArraySource:
    """Rows of a numpy array or memory map; only the rows asked for are read."""

    device = torch.device("cpu")

    def __init__(self, X: np.ndarray):
        self._X = X

    def __len__(self) -> int:
        return len(self._X)

    def fetch(self, idx: Int[Tensor, "b"]) -> Float[Tensor, "b d"]:
        return _as_rows(torch.from_numpy(np.asarray(self._X[idx.cpu().numpy()])))


class DatasetSource:
    """Items of a map-style dataset, flattened; of an item that is a tuple, the first part is the features."""

    device = torch.device("cpu")

    def __init__(self, dataset: Any):
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def fetch(self, idx: Int[Tensor, "b"]) -> Float[Tensor, "b d"]:
        wanted = idx.tolist()
        if hasattr(self._dataset, "__getitems__"):
            items = self._dataset.__getitems__(wanted)
        else:
            items = [self._dataset[i] for i in wanted]
        features = [torch.as_tensor(item[0] if isinstance(item, tuple | list) else item) for item in items]
        return _as_rows(torch.stack(features))


class CallableSource:
    """Items made on access: `fn(idx)` returns the features of the items `idx`."""

    def __init__(self, fn: Callable[[Tensor], Tensor], n: int, device: torch.device):
        self._fn, self._n, self.device = fn, n, device

    def __len__(self) -> int:
        return self._n

    def fetch(self, idx: Int[Tensor, "b"]) -> Float[Tensor, "b d"]:
        return _as_rows(self._fn(idx.to(self.device)))


class IndexSource:
    """The items of ``range(n)``: item i has the single feature i, which `Precomputed` reads as a row of its matrix."""

    def __init__(self, n: int, device: torch.device):
        self._n, self.device = n, device

    def __len__(self) -> int:
        return self._n

    def fetch(self, idx: Int[Tensor, "b"]) -> Float[Tensor, "b 1"]:
        return idx.to(self.device, torch.float64)[:, None]


class CountingSource:
    """A source that remembers which of its items were fetched: the instrument behind "few looks".

    Parameters
    ----------
    source : ItemSource
        The source to watch; anything that `as_source` takes.

    Attributes
    ----------
    looked : Tensor of int64, shape (n_looked,)
        Distinct indices fetched so far, ascending, on the CPU.
    n_looked : int
        How many distinct items were fetched.
    n_fetched : int
        How many items were fetched, repeats included.

    Notes
    -----
    Memory is O(n_looked), whatever the length of the source.

    Examples
    --------
    >>> import torch
    >>> source = CountingSource(torch.eye(5))
    >>> _ = source.fetch(torch.tensor([3, 1])), source.fetch(torch.tensor([3]))
    >>> source.looked.tolist(), source.n_looked, source.n_fetched
    ([1, 3], 2, 3)
    """

    def __init__(self, source: Any):
        self._source = as_source(source)
        self.device = getattr(self._source, "device", torch.device("cpu"))
        self._looked = torch.empty(0, dtype=torch.int64)
        self._recent: list[Tensor] = []
        self.n_fetched = 0

    def __len__(self) -> int:
        """Return the number of items, n."""
        return len(self._source)

    def fetch(self, idx: Int[Tensor, "b"]) -> Float[Tensor, "b d"]:
        """Return the features of the items `idx`, and take note of them."""
        self._recent.append(idx.to("cpu", copy=True))
        self.n_fetched += len(idx)
        if sum(map(len, self._recent)) > len(self._looked) + 4096:  # amortises the merge
            self._merge()
        return self._source.fetch(idx)

    @property
    def looked(self) -> Int[Tensor, "n_looked"]:
        """Distinct indices fetched so far, ascending, on the CPU."""
        self._merge()
        return self._looked

    @property
    def n_looked(self) -> int:
        """How many distinct items were fetched."""
        return len(self.looked)

    def _merge(self) -> None:
        self._looked = torch.unique(torch.cat([self._looked, *self._recent]))
        self._recent = []


def as_source(X: Any, *, n: int | None = None, device: str | torch.device | None = None) -> ItemSource:
    """Make a random-access source of items from what one has.

    Parameters
    ----------
    X : Tensor, ndarray, memmap, range, dataset, callable or ItemSource
        A floating-point tensor or array of shape (n, ...), one item a row, of which the trailing dimensions are
        flattened; a map-style dataset (its items flattened; of a tuple the first part); a function that takes a tensor
        of indices and returns their features, shape (b, d), with its `n`; ``range(n)``, whose items are the
        indices themselves, for `Precomputed`; or a source, which is returned as it is.
    n : int, optional
        Number of items; for a callable only, where it is required.
    device : str or torch.device, optional
        Where a callable or a range makes its items (default: the CPU), or where a tensor is moved to (default: it
        stays). Other sources give what they have, on the CPU.

    Returns
    -------
    ItemSource
        With ``len(source)`` and ``source.fetch(idx) -> (b, d)``.

    Raises
    ------
    TypeError
        If `X` is none of these, or holds no numbers.
    ValueError
        If there are no items, `n` is missing or given where it does not belong, or a range is not ``range(n)``.

    Notes
    -----
    Nothing is read or copied here. The samplers fetch distinct ascending indices, which suits memory maps, and
    compute in float64: a float32 or uint8 feature is taken at its stored value.

    Examples
    --------
    >>> import torch
    >>> squares = as_source(lambda idx: (idx.double() ** 2)[:, None], n=10**9)
    >>> len(squares), squares.fetch(torch.tensor([2, 3])).flatten().tolist()
    (1000000000, [4.0, 9.0])
    """
    place = torch.device("cpu" if device is None else device)
    if n is not None and (not callable(X) or isinstance(X, ItemSource)):
        raise ValueError(f"n is for a callable only; {type(X).__name__} has its own length")
    source: ItemSource
    if isinstance(X, Tensor):
        source = TensorSource(_check_array(X if device is None else X.to(place), X.dtype != torch.bool))
    elif isinstance(X, np.ndarray):
        source = ArraySource(_check_array(X, X.dtype.kind in "fiu"))
    elif isinstance(X, range):
        if X != range(len(X)):
            raise ValueError(f"a range must be range(n), got {X}")
        source = IndexSource(len(X), place)
    elif isinstance(X, ItemSource):
        source = X
    elif callable(X):
        if isinstance(n, bool) or not isinstance(n, int):
            raise ValueError(f"a callable source needs its number of items: as_source(fn, n=...), got n={n!r}")
        source = CallableSource(X, n, place)
    elif hasattr(X, "__getitem__") and hasattr(X, "__len__") and not isinstance(X, str | dict):
        source = DatasetSource(X)
    else:
        raise TypeError(f"X must be a tensor, array, dataset, callable, range or source, got {type(X).__name__}")
    if len(source) < 1:
        raise ValueError("X holds no items; a source needs at least 1")
    return source


def _check_array(X: Any, numeric: bool) -> Any:
    if not numeric:
        raise TypeError(f"X must hold real numbers, got dtype {X.dtype}")
    if X.ndim < 2:
        raise ValueError(f"X must have shape (n, d), one item a row, got {tuple(X.shape)}")
    return X


def _as_rows(X: Tensor) -> Tensor:
    """Flatten all but the first dimension; integers become floats that hold them exactly (below 2**53)."""
    rows = X.flatten(1)
    if rows.is_floating_point():
        return rows
    return rows.to(torch.float32 if rows.element_size() <= 2 else torch.float64)
