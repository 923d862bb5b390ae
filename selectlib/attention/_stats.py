"""What a decoding run did: steps, tokens, reads of the target's cache, and time where it was asked for."""

from dataclasses import dataclass
from typing import Literal

from selectlib.attention._audit import Audit
from selectlib.attention._plan import SparsePlan


class Reads:
    """Account of the target's reads, layer by layer [tokens], by the rule of `KVAccessMeter` with one mask a layer."""

    def __init__(self, layers: int) -> None:
        self.read = [0.0] * layers
        self.dense = 0  # of one layer, had each sparse step been dense
        self.row_bytes = 0  # of draft rows that selections were made from

    def step(self, start: int, plan: SparsePlan | None) -> None:
        """A step of decoding that began with a cache of `start` tokens; no plan: it was dense."""
        self.dense += start
        self._add(start, plan)

    def verification(self, start: int) -> None:
        """A dense pass over a block, beside its steps."""
        self._add(start, None)

    def _add(self, start: int, plan: SparsePlan | None) -> None:
        for layer in range(len(self.read)):
            self.read[layer] += start if plan is None else plan.reads(layer)


@dataclass(frozen=True)
class DecodingStats:
    """Account of one call of `SpecAttnDecoder.generate`.

    Attributes
    ----------
    tokens : int
        New tokens.
    steps : int
        Steps of drafting and verifying. The first token needs none: it comes from the prompt's own pass.
    drafted, accepted : int
        Drafted tokens, and those of them that the steps accepted.
    verified, kept : int
        With ``lossless=True``: tokens of blocks that the dense target looked at, and those of them that it kept.
    reads : tuple of float
        For each layer, tokens of the target's cache read by all passes after the prompt's, dense verifications of
        ``lossless`` included, audits not [tokens].
    dense_reads : int
        For each layer, what the steps would have read with dense attention [tokens].
    dense_layers : int
        Layers, from the input on, that were dense in every pass.
    row_bytes : int
        Bytes of the draft's attention rows that were read to select.
    kv_bytes : int
        Bytes of one token's keys and values in one layer.
    seconds : dict of str to float
        Time by part, ``"draft"``, ``"select"``, ``"verify"``; empty unless ``profile=True``.
    audit : Audit or None
        What the audited steps found; None without an audit.

    Examples
    --------
    >>> stats = DecodingStats(tokens=7, steps=2, drafted=8, accepted=4, verified=0, kept=0, reads=(70.0, 14.0),
    ...                       dense_reads=70, dense_layers=1, row_bytes=0, kv_bytes=64, seconds={}, audit=None)
    >>> stats.acceptance, stats.reduction(), stats.reduction("all"), stats.reads_per_token
    (0.5, 0.8, 0.4, 6.0)
    """

    tokens: int
    steps: int
    drafted: int
    accepted: int
    verified: int
    kept: int
    reads: tuple[float, ...]
    dense_reads: int
    dense_layers: int
    row_bytes: int
    kv_bytes: int
    seconds: dict[str, float]
    audit: Audit | None

    @property
    def acceptance(self) -> float:
        """Share of the drafted tokens that the steps accepted; 0 where none was drafted."""
        return self.accepted / self.drafted if self.drafted else 0.0

    @property
    def reads_per_token(self) -> float:
        """Tokens of the target's cache read for one new token, on average over the layers.

        This compares runs that take different numbers of steps, with ``lossless=True`` and with ``p=None`` for example.
        """
        return sum(self.reads) / len(self.reads) / self.tokens

    def reduction(self, scope: Literal["sparse", "all", "bytes"] = "sparse") -> float:
        """Share of the dense reads that was saved.

        Parameters
        ----------
        scope : {"sparse", "all", "bytes"}, default "sparse"
            ``"sparse"``: tokens in the sparse layers; ``"all"``: in all layers; ``"bytes"``: bytes in all layers, those
            of the draft's rows included.

        Returns
        -------
        float
            At most 1; in bytes it can be negative. 0 where nothing was read in the scope.

        Raises
        ------
        ValueError
            If `scope` is unknown, or the run was lossless: the steps whose tokens its verifications threw away would
            count as dense reads that were saved. Compare `reads_per_token`.

        Examples
        --------
        >>> empty = DecodingStats(1, 0, 0, 0, 0, 0, (0.0, 0.0), 0, 0, 0, 64, {}, None)
        >>> empty.reduction("bytes")
        0.0
        """
        if scope not in ("sparse", "all", "bytes"):
            raise ValueError(f"scope must be 'sparse', 'all' or 'bytes', got {scope!r}")
        if self.verified:
            raise ValueError("a lossless run has no reduction: compare reads_per_token with that of a run with p=None")
        layers = self.reads[self.dense_layers if scope == "sparse" else 0 :]
        read, total = sum(layers), self.dense_reads * len(layers)
        if scope == "bytes":
            read += self.row_bytes / self.kv_bytes
        return 1 - read / total if total else 0.0
