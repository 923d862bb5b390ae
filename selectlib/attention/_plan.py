"""What each layer of the target may read of its cache in one step."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Selection:
    """One mask of a plan with what follows from it, made once however many layers share the mask."""

    keep: Bool[Tensor, "g q l"]
    indices: Int[Tensor, "n"]  # columns that some query of some head reads, sorted
    everything: bool  # every query reads every column: dense attention

    @cached_property
    def columns(self) -> Int[Tensor, "n_q"]:
        """The read list, then the tokens in flight."""
        q, length = self.keep.shape[1:]
        return torch.cat([self.indices, torch.arange(length, length + q, device=self.keep.device)])

    @cached_property
    def mask(self) -> Bool[Tensor, "g q l_q"]:
        """What each query sees of all columns."""
        return self._with_in_flight(self.keep)

    @cached_property
    def gathered_mask(self) -> Bool[Tensor, "g q n_q"]:
        """What each query sees of `columns`."""
        return self._with_in_flight(self.keep.index_select(2, self.indices))

    def _with_in_flight(self, keep: Bool[Tensor, "g q n"]) -> Bool[Tensor, "g q n_q"]:
        g, q, _ = keep.shape
        causal = torch.ones(q, q, dtype=torch.bool, device=keep.device).tril()
        return torch.cat([keep, causal.expand(g, q, q)], 2)


class SparsePlan:
    """The tokens of the cache that each layer of the target may read in one verification step.

    Parameters
    ----------
    keep : sequence of (Tensor of bool, shape (g, q, l)) or None
        One entry a layer; None: the layer is dense. ``q`` is the number of queries of the step, ``l`` the length of
        the cache at its start, ``g`` one for all heads together, the number of KV heads, or the number of query
        heads. ``keep[i, s, k]`` says that query ``s`` may read token ``k``. The tokens in flight are not in it: each
        query always sees itself and those before it. One tensor may stand at several layers; its read list is derived
        once.
    renormalize : bool, default True
        Whether the softmax runs over the kept tokens. False: over all tokens, and the weights of the dropped ones are
        then set to zero, as the paper prints it; this reads every key.
    kv_heads : int, optional
        Number of KV heads of the target. Needed only to count reads and for `csr` where masks are per query head
        (``g`` query heads, of which ``g / kv_heads`` in a row share a KV head). Default: ``g`` itself.

    Raises
    ------
    TypeError
        If an entry is neither None nor a 3-D tensor of bool.
    ValueError
        If `keep` is empty, entries differ in queries, cache length or device, or `kv_heads` does not divide ``g``.

    Notes
    -----
    The read lists are made here, all at once: on CUDA the constructor waits for the device twice, so that the forward
    that uses the plan need not wait in any layer. Time and memory are linear in the entries of the distinct masks.
    The union over the queries is that of Shah, "SpecAttn" (arXiv:2510.27641); masks that differ between the queries of
    a step are ours.

    Examples
    --------
    >>> import torch
    >>> keep = torch.tensor([[[True, False, True, False], [True, False, False, False]]])
    >>> plan = SparsePlan([None, keep, keep])
    >>> plan.indices(1), plan.reads(1), plan.reads(0)
    (tensor([0, 2]), 2.0, 4.0)
    """

    def __init__(
        self,
        keep: Sequence[Bool[Tensor, "_ _ _"] | None],
        *,
        renormalize: bool = True,
        kv_heads: int | None = None,
    ) -> None:
        masks = {id(mask): mask for mask in keep if mask is not None}  # distinct, in order
        _check(keep, list(masks.values()), kv_heads)
        self.renormalize = renormalize
        self.kv_heads = kv_heads
        self._layers = [None if mask is None else id(mask) for mask in keep]
        self._selections = dict(zip(masks, _select(list(masks.values())), strict=True))

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self._layers)

    @property
    def length(self) -> int:
        """Length of the cache at the start of the step, in tokens; ValueError if every layer is dense."""
        for selection in self._selections.values():
            return selection.keep.shape[2]
        raise ValueError("a plan whose layers are all dense does not know the length of the cache")

    @property
    def queries(self) -> int:
        """Number of queries of the step; ValueError if every layer is dense."""
        for selection in self._selections.values():
            return selection.keep.shape[1]
        raise ValueError("a plan whose layers are all dense does not know the number of queries")

    def selection(self, layer: int) -> Selection | None:
        """Return a layer's mask with its read list; None if the layer is dense."""
        key = self._layers[layer]
        return None if key is None else self._selections[key]

    def bool_mask(self, layer: int) -> Bool[Tensor, "g q l"]:
        """Return the mask of a layer over the cache.

        Parameters
        ----------
        layer : int
            Index of the layer.

        Returns
        -------
        Tensor of bool, shape (g, q, l)
            True where a query may read; all True, with ``g = 1``, for a dense layer.

        Raises
        ------
        ValueError
            If every layer is dense: the plan does not know its shape.

        Examples
        --------
        >>> import torch
        >>> SparsePlan([None, torch.zeros(2, 1, 3, dtype=torch.bool)]).bool_mask(0)
        tensor([[[True, True, True]]])
        """
        selection = self.selection(layer)
        if selection is not None:
            return selection.keep
        device = next(iter(self._selections.values())).keep.device if self._selections else None
        return torch.ones(1, self.queries, self.length, dtype=torch.bool, device=device)

    def indices(self, layer: int) -> Int[Tensor, "n"]:
        """Return the read list of a layer: the tokens that any query of any head may read.

        Parameters
        ----------
        layer : int
            Index of the layer.

        Returns
        -------
        Tensor of int64, shape (n,)
            Positions in the cache, increasing; all of them for a dense layer.

        Raises
        ------
        ValueError
            If every layer is dense.

        Examples
        --------
        >>> import torch
        >>> SparsePlan([torch.tensor([[[True, False]], [[False, True]]])]).indices(0)
        tensor([0, 1])
        """
        selection = self.selection(layer)
        if selection is not None:
            return selection.indices
        return torch.arange(self.length, device=self.bool_mask(layer).device)

    def csr(self, layer: int) -> tuple[Int[Tensor, "groups_1"], Int[Tensor, "m"]]:
        """Return the read list of each KV head, the lists one after another.

        Parameters
        ----------
        layer : int
            Index of the layer.

        Returns
        -------
        indptr : Tensor of int64, shape (groups + 1,)
            List ``i`` is ``indices[indptr[i]:indptr[i + 1]]``; one list if the mask is one for all heads.
        indices : Tensor of int64, shape (m,)
            Positions in the cache, increasing in each list.

        Raises
        ------
        ValueError
            If every layer is dense.

        Notes
        -----
        Waits for the device. The form that block-sparse kernels with blocks of one token take.

        Examples
        --------
        >>> import torch
        >>> keep = torch.tensor([[[True, False, True]], [[False, True, False]]])
        >>> SparsePlan([keep]).csr(0)
        (tensor([0, 2, 3]), tensor([0, 2, 1]))
        """
        union = self._unions(layer)
        indptr = torch.zeros(len(union) + 1, dtype=torch.int64, device=union.device)
        torch.cumsum(union.sum(1), 0, out=indptr[1:])
        return indptr, union.nonzero()[:, 1]

    def reads(self, layer: int) -> float:
        """Return how many tokens of the cache a layer reads in the step.

        Parameters
        ----------
        layer : int
            Index of the layer.

        Returns
        -------
        float
            Length of the union over the step's queries, and over the query heads of a KV head; the mean over KV heads
            [tokens]. The cache's length for a dense layer.

        Raises
        ------
        ValueError
            If every layer is dense.

        Notes
        -----
        Tokens in flight are not counted, here or in a dense layer. Waits for the device if masks differ between heads.

        Examples
        --------
        >>> import torch
        >>> keep = torch.tensor([[[True, False, True]], [[False, True, False]]])
        >>> SparsePlan([keep]).reads(0), SparsePlan([keep], kv_heads=1).reads(0)
        (1.5, 3.0)
        """
        selection = self.selection(layer)
        if selection is None:
            return float(self.length)
        if selection.keep.shape[0] == 1:
            return float(len(selection.indices))
        return self._unions(layer).sum(1).double().mean().item()

    def _unions(self, layer: int) -> Bool[Tensor, "groups l"]:
        union = self.bool_mask(layer).any(1)
        groups = 1 if len(union) == 1 else self.kv_heads or len(union)
        return union.view(groups, len(union) // groups, union.shape[1]).any(1)


def _select(masks: list[Tensor]) -> list[Selection]:
    """Derive all read lists together, so that the device is waited for twice and not twice a mask."""
    if not masks:
        return []
    unions = torch.stack([mask.any(1).any(0) for mask in masks])
    whole = torch.stack([mask.all() for mask in masks])
    counts, everything = torch.stack([unions.sum(1), whole.long()]).tolist()
    lists = unions.nonzero()[:, 1].split(counts)
    return [
        Selection(mask, indices, bool(dense)) for mask, indices, dense in zip(masks, lists, everything, strict=True)
    ]


def _check(keep: Sequence[Tensor | None], masks: list[Tensor], kv_heads: int | None) -> None:
    if len(keep) == 0:
        raise ValueError("keep must have an entry for each layer, got none")
    for mask in masks:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.ndim != 3 or 0 in mask.shape[:2]:
            kind = f"{mask.dtype} of shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(f"keep must hold None or 3-D tensors of bool (g, q, l), got {kind}")
        if mask.shape[1:] != masks[0].shape[1:] or mask.device != masks[0].device:
            raise ValueError(
                "keep must have the same queries, cache length and device in each layer, got "
                f"{tuple(masks[0].shape)} on {masks[0].device} and {tuple(mask.shape)} on {mask.device}"
            )
        if kv_heads is not None and (kv_heads < 1 or (mask.shape[0] != 1 and mask.shape[0] % kv_heads)):
            raise ValueError(f"kv_heads must divide the {mask.shape[0]} heads of a mask, got {kv_heads}")
