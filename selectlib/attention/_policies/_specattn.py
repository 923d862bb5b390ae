"""SpecAttn's policy: top-p on the rows of the aligned draft layer."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selectlib.attention._policies._base import SelectionPolicy
from selectlib.attention._run import Run
from selectlib.attention._selection import Mask, draft_keep
from selectlib.attention._view import LayerView


class SpecAttnPolicy(SelectionPolicy):
    """Keep what the draft attended to, in the draft layer that is aligned with the target's layer.

    Parameters
    ----------
    alignment : LayerAlignment or sequence of int
        A fitted alignment, or its map: for each target layer the draft layer whose rows it uses.
    p : float, default 0.97
        Attention mass to keep, in (0, 1].
    mask : {"causal", "published"}, default "causal"
        Whether a query uses the rows up to its own, or all rows of its step as published; see `draft_keep`.
    sink, recent : int, default 0
        Cached tokens kept in any case: the first `sink` and the last `recent`.
    method, iterations, bound
        How top-p is computed, as in `selectlib.kernels.topp_mask`; ``("linear", 10)`` is the published way.

    Raises
    ------
    ValueError
        If an option is out of range; in `begin`, if the map has another length than the target has layers.

    Notes
    -----
    One selection serves all target layers in a row that share a draft layer. O(r·l) a draft layer. Metadata: the
    draft's float32 rows, read once a draft layer and charged to the first target layer that uses them.

    References
    ----------
    Shah, *SpecAttn: Speculating Sparse Attention* (arXiv:2510.27641). The causal mask is ours.

    Examples
    --------
    >>> import torch
    >>> from selectlib.attention._policies import SpecAttnPolicy
    >>> from selectlib.attention._run import Run
    >>> from selectlib.attention._view import LayerView
    >>> policy = SpecAttnPolicy([0], p=0.8)
    >>> rows, at = torch.tensor([[0.1, 0.85, 0.05]]), torch.tensor([2])
    >>> policy.begin(Run(at, 1, 1, cached=2, draft_rows={0: rows}, row_positions=at))
    >>> policy.keep(LayerView(0, torch.ones(1, 1, 1), torch.ones(1, 3, 1), at, 1.0)).int().tolist()
    [[[0, 1, 0]]]
    """

    def __init__(
        self,
        alignment: Any,
        p: float = 0.97,
        *,
        mask: Mask = "causal",
        sink: int = 0,
        recent: int = 0,
        method: str = "auto",
        iterations: int | None = None,
        bound: str = "lower",
    ) -> None:
        mapping = getattr(alignment, "mapping_", alignment)
        if isinstance(mapping, Tensor):
            mapping = mapping.tolist()
        if not isinstance(mapping, Sequence) or not all(type(i) is int and i >= 0 for i in mapping):
            raise ValueError(f"alignment must be a fitted LayerAlignment or draft layers, from 0 on, got {alignment!r}")
        if not 0 < p <= 1:
            raise ValueError(f"p must be in (0, 1], got {p}")
        if mask not in ("causal", "published"):
            raise ValueError(f"mask must be 'causal' or 'published', got {mask!r}")
        if sink < 0 or recent < 0:
            raise ValueError(f"sink and recent must be at least 0, got {sink} and {recent}")
        self.mapping = tuple(mapping)
        self.draft_layers = tuple(sorted(set(mapping)))
        self.p = p
        self.mask = mask
        self._options: dict[str, Any] = {
            "sink": sink,
            "recent": recent,
            "method": method,
            "iterations": iterations,
            "bound": bound,
        }

    def begin(self, run: Run) -> None:
        """Take note of the forward that comes, as `SelectionPolicy.begin` says."""
        if len(self.mapping) != run.num_layers:
            raise ValueError(
                f"alignment must map each of the target's {run.num_layers} layers, got {len(self.mapping)} entries"
            )
        super().begin(run)
        self._latest: tuple[int, Tensor] | None = None

    def keep(self, view: LayerView) -> Bool[Tensor, "1 q l"]:
        """Choose cached tokens, as `SelectionPolicy.keep` says."""
        source = self.mapping[view.layer]
        if self._latest is None or self._latest[0] != source:
            rows, at = self.run.draft_rows[source][None], self.run.row_positions
            assert at is not None  # given with the rows
            options = self._options | {"longest": self.run.gamma}
            kept = draft_keep(rows, at, view.positions, self.run.starts, self.p, self.mask, **options)
            self._latest = source, kept
        return self._latest[1]

    def metadata_bytes(self, view: LayerView) -> Float[Tensor, " q"]:
        """Bytes of the draft's rows, as `SelectionPolicy.metadata_bytes` says."""
        source, starts = self.mapping[view.layer], self.run.starts
        if source in self.mapping[self.run.dense_layers : view.layer]:
            return torch.zeros(len(starts), device=starts.device)
        in_step = torch.searchsorted(starts, starts, right=True) - torch.searchsorted(starts, starts)
        return 4.0 * in_step * starts
