"""One account of KV-cache reads for every policy."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from selectlib.attention._selection import prefix_union

Scope = Literal["sparse", "all", "bytes"]
Charge = Literal["union", "query"]


@dataclass
class LayerReads:
    """Reads of one layer in one forward, summed over KV groups: by query, and by step up to and with the query."""

    query: Int[Tensor, " q"]
    step: Int[Tensor, " q"]
    groups: int  # how many KV groups the sums run over
    metadata: Float[Tensor, " q"] | None = None


@dataclass
class Forward:
    """Reads of one forward, layer by layer; `starts` as in a run."""

    starts: Int[Tensor, " q"]
    longest: int
    layers: dict[int, LayerReads] = field(default_factory=dict)
    dense: set[int] = field(default_factory=set)


class KVAccessMeter:
    """Count what a policy reads of the target's KV cache.

    A step reads, in each layer and KV group, the union of what its queries and the group's query heads keep (charge
    ``"union"``). The gentler charge ``"query"`` lets each query pay for its own set, and the dense reference pay once a
    query too: what a policy would read if every token were decoded alone. Tokens in flight are counted by neither.

    Parameters
    ----------
    config : transformers.PretrainedConfig
        The target's configuration: layers, KV heads, head size, dtype.
    dtype : torch.dtype, optional
        Of the cache; default: the configuration's, or float32 if it names none.

    Raises
    ------
    ValueError
        In `record`, if a mask does not fit; in the results, if nothing was recorded.

    Notes
    -----
    Only counts are kept, a few numbers a query and layer, on the device of the masks; they are brought over when a
    result is asked for. Work O(g·q·l·log gamma) a layer, one KV group at a time. Shares are of sums over steps, layers
    and sequences, never means of ratios.

    References
    ----------
    Shah, *SpecAttn: Speculating Sparse Attention* (arXiv:2510.27641), reduction of KV-cache accesses.

    Examples
    --------
    One sparse layer and a dense one, two queries of a step that began with four cached tokens:

    >>> import torch
    >>> from types import SimpleNamespace
    >>> from selectlib.attention import KVAccessMeter
    >>> config = SimpleNamespace(num_hidden_layers=2, num_attention_heads=1, num_key_value_heads=1, head_dim=8)
    >>> meter = KVAccessMeter(config)
    >>> meter.begin(torch.tensor([4, 4]))
    >>> meter.record(0, None)
    >>> meter.record(1, torch.tensor([[[1, 0, 0, 0, 1, 0], [1, 1, 0, 0, 1, 1]]]).bool())
    >>> meter.reduction(), meter.reduction("all"), meter.reduction(charge="query")
    (0.5, 0.25, 0.625)
    """

    def __init__(self, config: Any, *, dtype: torch.dtype | None = None) -> None:
        self.num_layers: int = config.num_hidden_layers
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = getattr(config, "num_key_value_heads", None) or self.heads
        self.bytes_per_token = kv_bytes_per_token(config, dtype) // self.num_layers  # in one layer
        self._forwards: list[Forward] = []

    def begin(self, starts: Int[Tensor, " q"], longest: int | None = None) -> None:
        """Begin a forward.

        Parameters
        ----------
        starts : Int[Tensor, "q"]
            For each query the tokens cached when its step began, non-decreasing; 0: dense prefill, not counted.
        longest : int, optional
            Queries of the longest counted step; default: all.
        """
        self._forwards.append(Forward(starts, longest or len(starts)))

    def record(
        self, layer: int, keep: Bool[Tensor, "g q l"] | None, metadata_bytes: Float[Tensor, " q"] | None = None
    ) -> None:
        """Count one layer of the forward.

        Parameters
        ----------
        layer : int
            Its index.
        keep : Bool[Tensor, "g q l"] or None
            What each query keeps; None: a dense layer. Columns from a query's start on are not counted.
        metadata_bytes : Float[Tensor, "q"], optional
            Bytes that each query's step reads to choose; default none.

        Raises
        ------
        ValueError
            If `begin` was not called, the queries differ in number, or g is none of 1, the KV heads, the query heads.
        """
        if not self._forwards:
            raise ValueError("record needs begin first: the starts of the forward's queries")
        forward = self._forwards[-1]
        if keep is None:
            forward.layers[layer] = LayerReads(forward.starts, forward.starts, 1)
            forward.dense.add(layer)
            return
        if keep.shape[0] not in (1, self.kv_heads, self.heads) or keep.shape[1] != len(forward.starts):
            raise ValueError(
                f"keep must have 1, {self.kv_heads} or {self.heads} masks of {len(forward.starts)} queries, "
                f"got shape {tuple(keep.shape)}"
            )
        groups = 1 if keep.shape[0] == 1 else self.kv_heads
        cached = torch.arange(keep.shape[2], device=keep.device) < forward.starts[:, None]
        query, step = torch.zeros_like(forward.starts), torch.zeros_like(forward.starts)
        for heads in keep.view(groups, -1, *keep.shape[1:]):
            read = heads.any(0) & cached
            query += read.count_nonzero(-1)
            step += prefix_union(read, forward.starts, forward.longest).count_nonzero(-1)
        forward.layers[layer] = LayerReads(query, step, groups, metadata_bytes)

    @property
    def sparse_layers(self) -> list[int]:
        """Layers that were recorded with masks."""
        return [layer for layer in range(self.num_layers) if layer not in self._forwards[0].dense]

    def reads(self, charge: Charge = "union") -> Float[Tensor, "forwards layers"]:
        """Tokens read, by forward and layer, averaged over KV groups.

        Parameters
        ----------
        charge : {"union", "query"}, default "union"
            Who pays; see the class.

        Returns
        -------
        Float[Tensor, "forwards layers"]
            float64 on the CPU.
        """
        return self._sum(charge, "reads")

    def dense_reads(self, charge: Charge = "union") -> Float[Tensor, "forwards layers"]:
        """Tokens that dense attention would read, as `reads` counts them.

        Parameters
        ----------
        charge : {"union", "query"}, default "union"
            Who pays; see the class.

        Returns
        -------
        Float[Tensor, "forwards layers"]
            float64 on the CPU.
        """
        return self._sum(charge, "dense")

    def metadata_bytes(self, charge: Charge = "union") -> Float[Tensor, "forwards layers"]:
        """Bytes read to choose, by forward and layer.

        Parameters
        ----------
        charge : {"union", "query"}, default "union"
            Who pays; see the class.

        Returns
        -------
        Float[Tensor, "forwards layers"]
            float64 on the CPU.
        """
        return self._sum(charge, "metadata")

    def counts(self, charge: Charge = "union") -> tuple[Int[Tensor, "b layers t"], Int[Tensor, "b t"]]:
        """Tokens read, query by query, of forwards that were whole sequences of one length.

        Parameters
        ----------
        charge : {"union", "query"}, default "union"
            ``"union"``: a query has the count of its whole step; ``"query"``: its own.

        Returns
        -------
        counts : Int[Tensor, "b layers t"]
            Averaged over KV groups and rounded down; 0 in dense layers and in the prefill.
        starts : Int[Tensor, "b t"]
            As given to `begin`. Both are int64 on the CPU.

        Raises
        ------
        ValueError
            If `charge` is unknown, nothing was recorded, or the forwards differ in length.
        """
        self._check(charge)
        lengths = sorted({len(forward.starts) for forward in self._forwards})
        if len(lengths) > 1:
            raise ValueError(f"all forwards must have as many queries, got {lengths}")
        counts = []
        for forward in self._forwards:
            end = torch.searchsorted(forward.starts, forward.starts, right=True) - 1  # the last query of one's step
            none = torch.zeros_like(forward.starts)
            for layer, reads in sorted(forward.layers.items()):
                total = reads.step[end] if charge == "union" else reads.query
                counts.append(none if layer in forward.dense else total // reads.groups)
        starts = torch.stack([forward.starts for forward in self._forwards]).cpu()
        return torch.stack(counts).cpu().view(len(starts), self.num_layers, -1), starts

    def reduction(self, scope: Scope = "sparse", charge: Charge = "union") -> float:
        """Share of the dense reads that was saved.

        Parameters
        ----------
        scope : {"sparse", "all", "bytes"}, default "sparse"
            ``"sparse"``: tokens in the sparse layers; ``"all"``: tokens in all layers; ``"bytes"``: bytes in all layers
            with the metadata, which can make it negative.
        charge : {"union", "query"}, default "union"
            Who pays; see the class.

        Returns
        -------
        float
            At most 1; 0 where nothing was counted in the scope (all layers dense, or no step).

        Raises
        ------
        ValueError
            If an argument is unknown or nothing was recorded.
        """
        if scope not in ("sparse", "all", "bytes"):
            raise ValueError(f"scope must be 'sparse', 'all' or 'bytes', got {scope!r}")
        reads, dense = self.reads(charge), self.dense_reads(charge)
        if scope == "sparse":
            reads, dense = reads[:, self.sparse_layers], dense[:, self.sparse_layers]
        total, read = dense.sum().item(), reads.sum().item()
        if scope == "bytes":
            read += self.metadata_bytes(charge).sum().item() / self.bytes_per_token
        return 1 - read / total if total else 0.0

    def _sum(self, charge: str, what: str) -> Float[Tensor, "forwards layers"]:
        self._check(charge)
        rows = []
        for forward in self._forwards:
            starts, pays = forward.starts, forward.starts > 0
            if charge == "union":  # a step pays at its last query, which has seen all of it
                pays = pays & (starts != torch.cat([starts[1:], starts.new_full((1,), -1)]))
            for layer in range(self.num_layers):
                rows.append(_paid(forward.layers[layer], starts, charge, what)[pays].cpu().sum(dtype=torch.float64))
        return torch.stack(rows).view(len(self._forwards), self.num_layers)

    def _check(self, charge: str) -> None:
        if charge not in ("union", "query"):
            raise ValueError(f"charge must be 'union' or 'query', got {charge!r}")
        if not self._forwards:
            raise ValueError("the meter has recorded nothing")
        for forward in self._forwards:
            missing = set(range(self.num_layers)) - forward.layers.keys()
            if missing:
                raise ValueError(f"layers {sorted(missing)} of a forward were not recorded")


def _paid(layer: LayerReads, starts: Tensor, charge: str, what: str) -> Tensor:
    if what == "dense":
        return starts
    if what == "metadata":
        return torch.zeros_like(starts) if layer.metadata is None else layer.metadata
    return (layer.step if charge == "union" else layer.query) / layer.groups


def kv_bytes_per_token(config: Any, dtype: torch.dtype | None = None) -> int:
    """Bytes of one token's keys and values in all layers.

    Parameters
    ----------
    config : transformers.PretrainedConfig
        A model's configuration.
    dtype : torch.dtype, optional
        Of the cache; default: the configuration's, or float32 if it names none.

    Returns
    -------
    int
        Layers · KV heads · head size · 2 · bytes a number.

    Raises
    ------
    Nothing.

    Examples
    --------
    Llama-2-7B in 16 bit:

    >>> import torch
    >>> from types import SimpleNamespace
    >>> from selectlib.attention._meter import kv_bytes_per_token
    >>> config = SimpleNamespace(num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32, head_dim=128)
    >>> kv_bytes_per_token(config, torch.float16)
    524288
    """
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    dtype = dtype or getattr(config, "dtype", None) or torch.float32
    return config.num_hidden_layers * kv_heads * 2 * width * dtype.itemsize
