"""The items that were looked at: each is fetched once, and everything later is computed from this memory."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from selectlib.pool import ItemSource
from selectlib.seeding import uniform_indices
from selectlib.subsets._kernels import Kernel

_BLOCK = 65_536  # items fetched at once


class LookedItems:
    """Random looks at a source, and the memory of what was seen.

    Items are drawn with a probability proportional to a bound β_i >= L_ii: the constant κ² where the kernel has one
    (nothing is then read or stored for items never drawn), else L_ii itself, which takes one pass over the source.

    Parameters
    ----------
    source : ItemSource
        n items.
    kernel : Kernel
        Its values on the items make L.
    generator : torch.Generator
        Source of the random looks; its device is where the computing is done.

    Attributes
    ----------
    total : float
        Σ_i β_i, that is n κ² for a bounded kernel.
    count : int
        How many distinct items are in memory; they are addressed by their row, in order of first look.
    draws : int
        How many random looks were made, repeats included.

    Notes
    -----
    Memory is O(looks · d). Features stay in the dtype of the source, and are handed out in float64.
    """

    def __init__(self, source: ItemSource, kernel: Kernel, generator: torch.Generator):
        self.source, self.kernel, self.generator = source, kernel, generator
        self.n, self.device = len(source), generator.device
        self.count = self.draws = 0
        self._sorted = torch.empty(0, dtype=torch.int64, device=self.device)  # indices in memory, ascending
        self._row_of_sorted = self._sorted
        self._index = self._sorted  # these three by row, with room to grow
        self._features = torch.empty(0, 0, device=self.device)
        self._diag = torch.empty(0, dtype=torch.float64, device=self.device)
        self._forgotten = self._sorted  # items looked at and no longer in memory, ascending
        self._cumulative: Tensor | None = None  # of β, where it is not constant
        bound = kernel.diag_bound
        if bound is None:
            everything = torch.arange(self.n, device=self.device)
            diagonal = torch.cat([self._fetch(block)[1] for block in everything.split(_BLOCK)])
            self._bounds = diagonal
            self._cumulative = diagonal.cumsum(0)
            self.total = float(self._cumulative[-1])
        else:
            self._bounds = torch.tensor([bound], dtype=torch.float64, device=self.device)
            self.total = self.n * float(bound)
        if not self.total > 0:
            raise ValueError("the kernel's diagonal is zero everywhere: no item can be chosen")

    @property
    def looks(self) -> int:
        """How many distinct items were fetched from the source, at any time."""
        if self._cumulative is not None:
            return self.n
        return self.count + len(self._forgotten) - int(self._contains(self._forgotten).sum())

    @property
    def complete(self) -> bool:
        """Whether every item is in memory."""
        return self.count == self.n

    @property
    def diag(self) -> Float[Tensor, "count"]:
        """L_ii by row."""
        return self._diag[: self.count]

    def features(self, rows: Int[Tensor, "*b"]) -> Float[Tensor, "*b d"]:
        """Features of the items in these rows, in float64."""
        return self._features[rows].to(torch.float64)

    def index(self, rows: Int[Tensor, "*b"]) -> Int[Tensor, "*b"]:
        """Which items of the source are in these rows."""
        return self._index[rows]

    def bounds(self, rows: Int[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """β_i of the items in these rows."""
        if self._cumulative is None:
            return self._bounds.expand(rows.shape)
        return self._bounds[self._index[rows]]

    def draw(self, size: int) -> Int[Tensor, "size"]:
        """Look at `size` independent random items (probability β_i / Σβ), and return their rows."""
        self.draws += size
        if self._cumulative is None:
            idx = uniform_indices(self.n, size, generator=self.generator)
        else:
            u = torch.rand(size, dtype=torch.float64, device=self.device, generator=self.generator)
            idx = torch.searchsorted(self._cumulative, u * self.total, right=True).clamp_(max=self.n - 1)
        return self.rows(idx)

    def look_at_all(self) -> None:
        """Bring every item into memory."""
        for block in torch.arange(self.n, device=self.device).split(_BLOCK):
            self.rows(block)

    def rows(self, idx: Int[Tensor, "b"]) -> Int[Tensor, "b"]:
        """Rows of the items `idx`; those not in memory are fetched."""
        new = torch.unique(idx[~self._contains(idx)])
        for block in new.split(_BLOCK) if len(new) else ():
            self._remember(block)
        return self._row_of_sorted[torch.searchsorted(self._sorted, idx)]

    def inclusion(self) -> Float[Tensor, "count"]:
        """Probability that the random looks made so far include the item in each row."""
        if self.complete:
            return torch.ones_like(self.diag)
        share = (self.bounds(torch.arange(self.count, device=self.device)) / self.total).clamp(max=1 - 1e-16)
        return -torch.expm1(self.draws * torch.log1p(-share))

    def forget(self) -> None:
        """Empty the memory; only the indices stay, to count distinct looks."""
        self._forgotten = torch.unique(torch.cat([self._forgotten, self._sorted]))
        self._sorted = self._row_of_sorted = self._sorted[:0]
        self.count = 0

    def _contains(self, idx: Tensor) -> Bool[Tensor, "b"]:
        if not self.count:
            return torch.zeros_like(idx, dtype=torch.bool)
        place = torch.searchsorted(self._sorted, idx).clamp_(max=self.count - 1)
        return self._sorted[place] == idx

    def _remember(self, idx: Tensor) -> None:
        """Fetch the items `idx` (distinct, ascending, not in memory)."""
        features, diag = self._fetch(idx)
        stop = self.count + len(idx)
        self._index = _store(self._index, self.count, idx)
        self._diag = _store(self._diag, self.count, diag)
        self._features = _store(self._features, self.count, features)
        # Merge two ascending lists: an element's place is its own rank plus its rank in the other list.
        at_old = torch.arange(self.count, device=self.device) + torch.searchsorted(idx, self._sorted)
        at_new = torch.arange(len(idx), device=self.device) + torch.searchsorted(self._sorted, idx)
        merged, merged_rows = self._sorted.new_empty(stop), self._sorted.new_empty(stop)
        merged[at_old], merged[at_new] = self._sorted, idx
        merged_rows[at_old] = self._row_of_sorted
        merged_rows[at_new] = torch.arange(self.count, stop, device=self.device)
        self._sorted, self._row_of_sorted, self.count = merged, merged_rows, stop

    def _fetch(self, idx: Tensor) -> tuple[Tensor, Tensor]:
        """Features and diagonal of the items `idx`, checked."""
        features = self.source.fetch(idx).to(self.device)
        if features.ndim != 2 or len(features) != len(idx):
            raise ValueError(f"source.fetch must return shape ({len(idx)}, d), got {tuple(features.shape)}")
        finite = features.isfinite().all(-1)
        if not bool(finite.all()):
            raise ValueError(f"features must be finite; item {int(idx[~finite][0])} has NaN or infinity")
        diag = self.kernel.diag(features.to(torch.float64)).to(torch.float64)
        bad = ~(diag >= 0) | diag.isinf()
        if bool(bad.any()):
            raise ValueError(
                f"kernel must be positive semi-definite: item {int(idx[bad][0])} has k(x, x) = {float(diag[bad][0])}"
            )
        bound = self.kernel.diag_bound
        # The rejection step of every sampler rests on L_ii <= κ²; a larger value would bias it without a trace.
        if bound is not None and bool((diag > bound * (1 + 1e-9)).any()):
            worst = int(diag.argmax())
            raise ValueError(
                f"kernel.diag_bound is {bound}, but item {int(idx[worst])} has k(x, x) = {float(diag[worst])}"
            )
        return features, diag


def _store(buffer: Tensor, start: int, values: Tensor) -> Tensor:
    """Write `values` into `buffer` from row `start`; a buffer that is too short is replaced by one twice as long."""
    stop = start + len(values)
    if stop > len(buffer) or buffer.dtype != values.dtype:
        grown = values.new_empty(max(stop, 2 * start), *values.shape[1:])
        if start:  # before the first items nobody knows their width
            grown[:start] = buffer[:start]
        buffer = grown
    buffer[start:stop] = values
    return buffer
