"""Which draft layer looks where a target layer looks."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._atomic import write_atomically
from selectlib.attention._capture import capture_attention
from selectlib.attention._divergence import divergences
from selectlib.attention._layer_maps import greedy_map, monotone_map
from selectlib.attention._models import check_pair

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROWS = 256  # queries that are compared at once
_NEGATIVE = -1e-5  # nats; a divergence below it is not one of distributions
_FORMAT = "selectlib layer alignment, version 1"


class LayerAlignment:
    """Map every layer of a target model to the layer of a draft model whose attention is most like its own.

    Unlikeness is the Kullback-Leibler divergence KL(target, draft) of a query's two attention distributions, which are
    averaged over heads beforehand; its mean is over queries and texts.

    Parameters
    ----------
    monotone : bool, default True
        The map never goes back to an earlier draft layer: the cheapest such map, by `monotone_map`. False: every layer
        for itself, by `greedy_map`.
    eps : float, default 1e-10
        Draft weights are lifted to it, so that no divergence is infinite.
    skip_rows : int, optional
        The first queries of a text, left out because they have hardly anything to choose from. Default: a tenth of the
        text, at least 8.

    Attributes
    ----------
    mapping_ : Tensor of int64, shape (m,)
        The draft layer of each of the m target layers.
    cost_ : Tensor of float32, shape (m, n)
        Mean divergence of target layer j from draft layer i, nats.
    draft_ : str or None
        Name of the draft, where `from_models` made the alignment.
    target_ : str or None
        Name of the target, likewise.
    calibration_ : str or None
        sha256 of the token ids that `from_models` used.

    Raises
    ------
    ValueError
        If `eps` is not between 0 and 1e-3, or `skip_rows` is negative.

    Notes
    -----
    With X the target's weights of one query and ``Y = log max(draft's weights, eps)``, row by row, the costs of all
    pairs of layers are the entropies less the product X Yᵀ: one batched matrix product for a block of queries, so that
    time is O(m n S T²) for S texts of T tokens, and the maps of one text are what `from_models` holds in memory.

    Source: Shah, arXiv 2510.27641, layer alignment; which rows are skipped is ours.

    Examples
    --------
    >>> import torch
    >>> scores = torch.randn(3, 2, 40, 40, generator=torch.Generator().manual_seed(100))
    >>> hidden = torch.ones(40, 40, dtype=torch.bool).triu(1)
    >>> draft = [(3 * layer).masked_fill(hidden, -torch.inf).softmax(-1) for layer in scores]
    >>> target = [draft[0], draft[0], draft[1], draft[2]]
    >>> LayerAlignment().fit(draft, target).mapping_.tolist()
    [0, 0, 1, 2]
    """

    mapping_: Int[Tensor, "m"]
    cost_: Float[Tensor, "m n"]

    def __init__(self, *, monotone: bool = True, eps: float = 1e-10, skip_rows: int | None = None):
        if not 0 < eps <= 1e-3:
            raise ValueError(f"eps must be above 0 and at most 1e-3, got {eps}")
        if skip_rows is not None and skip_rows < 0:
            raise ValueError(f"skip_rows must be at least 0, got {skip_rows}")
        self.monotone = monotone
        self.eps = eps
        self.skip_rows = skip_rows
        self.draft_: str | None = None
        self.target_: str | None = None
        self.calibration_: str | None = None

    def fit(
        self, draft_attn: Sequence[Float[Tensor, "s t t"]], target_attn: Sequence[Float[Tensor, "s t t"]]
    ) -> "LayerAlignment":
        """Align two models from their attention maps.

        Parameters
        ----------
        draft_attn : sequence of n Tensors, shape (s, t, t)
            Attention of each draft layer on s texts of t tokens, averaged over heads: the row of a query sums to 1.
        target_attn : sequence of m Tensors, shape (s, t, t)
            The same of the target, on the same tokens. A row that is zero or holds NaN in any layer, as padding does,
            is left out for all layers.

        Returns
        -------
        LayerAlignment
            Itself.

        Raises
        ------
        ValueError
            If there is no layer or no text, shapes differ, no row is left, a weight is negative, a row does not sum
            to 1 within 1 % (rows that do are rescaled), or a mean divergence comes out below -1e-5.
        """
        if not len(draft_attn) or not len(target_attn):
            raise ValueError("draft_attn and target_attn must hold at least one layer each")
        shape = tuple(target_attn[0].shape)
        shapes = {tuple(layer.shape) for layer in (*draft_attn, *target_attn)}
        if len(shapes) > 1 or len(shape) != 3 or shape[1] != shape[2] or not shape[0]:
            raise ValueError(f"draft_attn and target_attn must hold maps of one shape (s, t, t), got {sorted(shapes)}")
        texts = (([layer[s] for layer in draft_attn], [layer[s] for layer in target_attn]) for s in range(shape[0]))
        return self._fit(texts, shape[1])

    @classmethod
    def from_models(
        cls,
        draft: "PreTrainedModel",
        target: "PreTrainedModel",
        input_ids: Int[Tensor, "s t"],
        *,
        tokenizers: tuple[Any, Any] | None = None,
        monotone: bool = True,
        eps: float = 1e-10,
        skip_rows: int | None = None,
        progress: Callable[[Iterable[Any]], Iterable[Any]] | None = None,
    ) -> "LayerAlignment":
        """Align two models from a run of both on calibration texts.

        Parameters
        ----------
        draft, target : PreTrainedModel
            Models of one tokenizer, which `check_pair` accepts; they may be on different devices.
        input_ids : Tensor of int, shape (s, t)
            The calibration texts: token ids, without padding. Not from the text that is evaluated later.
        tokenizers : tuple of two tokenizers, optional
            Of draft and target, for `check_pair` to compare. Default: the sizes of the vocabularies are compared.
        monotone, eps, skip_rows
            As of the class.
        progress : callable, optional
            Wraps the iterable of texts, as ``tqdm`` does. Default: nothing is shown.

        Returns
        -------
        LayerAlignment
            Fitted, with the models' names and the hash of the calibration texts.

        Raises
        ------
        ImportError
            If transformers is not installed: the extra ``hf`` brings it.
        ValueError
            If the models do not make a pair, `input_ids` is empty or holds an id outside the vocabulary, or as `fit`.

        Notes
        -----
        One dense forward of each model a text, attention in float32; no gradients.

        Examples
        --------
        .. code-block:: python

            alignment = LayerAlignment.from_models(draft, target, calibration_ids)
            alignment.save("alignment.json")
        """
        check_pair(draft, target, tokenizers=tokenizers)
        made = cls(monotone=monotone, eps=eps, skip_rows=skip_rows)
        if input_ids.ndim != 2 or not input_ids.numel():
            raise ValueError(f"input_ids must be texts of one length, shape (s, t), got {tuple(input_ids.shape)}")
        if (input_ids < 0).any() or (input_ids >= target.config.vocab_size).any():
            raise ValueError(f"input_ids must be from 0 to {target.config.vocab_size - 1}, the vocabulary's size")
        length = input_ids.shape[1]
        made._first_row(length)  # a text that is too short is refused before the models run

        texts: Iterable[int] = range(len(input_ids))
        ids = (input_ids[s : s + 1] for s in (texts if progress is None else progress(texts)))
        made._fit(((_maps(draft, text), _maps(target, text)) for text in ids), length)
        made.draft_, made.target_ = (model.config.name_or_path or None for model in (draft, target))
        tokens = input_ids.to("cpu", torch.int64).numpy()
        made.calibration_ = hashlib.sha256(f"{tokens.shape}".encode() + tokens.tobytes()).hexdigest()
        return made

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the alignment to a JSON file, which appears whole or not at all.

        Parameters
        ----------
        path : path
            Where to; a file there is replaced.

        Raises
        ------
        ValueError
            If the alignment is not fitted.
        OSError
            If the file cannot be written.
        """
        if not hasattr(self, "mapping_"):
            raise ValueError("the alignment is not fitted: call fit or from_models first")
        content = {
            "format": _FORMAT,
            "draft": self.draft_,
            "target": self.target_,
            "calibration_sha256": self.calibration_,
            "monotone": self.monotone,
            "eps": self.eps,
            "skip_rows": self.skip_rows,
            "mapping": self.mapping_.tolist(),
            "cost": self.cost_.tolist(),
        }
        write_atomically(Path(path), json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "LayerAlignment":
        """Read an alignment that `save` wrote.

        Parameters
        ----------
        path : path
            The file.

        Returns
        -------
        LayerAlignment
            Fitted, its tensors on the CPU.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is not such a file, or what it holds does not fit together; the message says what.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> attention = [torch.eye(20).expand(1, 20, 20)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     LayerAlignment().fit(attention, attention).save(Path(folder, "alignment.json"))
        ...     LayerAlignment.load(Path(folder, "alignment.json")).mapping_.tolist()
        [0]
        """
        try:
            content = json.loads(Path(path).read_bytes())
            if content["format"] != _FORMAT:
                raise ValueError(f"its format is {content['format']!r}, not {_FORMAT!r}")
            made = cls(monotone=content["monotone"], eps=content["eps"], skip_rows=content["skip_rows"])
            made.draft_, made.target_ = content["draft"], content["target"]
            made.calibration_ = content["calibration_sha256"]
            made.cost_ = torch.tensor(content["cost"], dtype=torch.float32)
            made.mapping_ = made._map(made.cost_)
            if content["mapping"] != made.mapping_.tolist():
                raise ValueError(f"its mapping {content['mapping']} is not the one that follows from its cost")
        except (ValueError, KeyError, TypeError) as error:  # of JSON and of the encoding as well
            raise ValueError(f"{path} is not a layer alignment: {type(error).__name__}: {error}") from error
        return made

    def _fit(self, texts: Iterable[tuple[Sequence[Tensor], Sequence[Tensor]]], length: int) -> "LayerAlignment":
        """Fit to the maps (t, t) of draft and target on one text after the other."""
        first = self._first_row(length)
        total, count = torch.zeros(()), torch.zeros(())
        for draft, target in texts:
            for start in range(first, length, _ROWS):
                divergence, known = divergences(draft, target, slice(start, start + _ROWS), self.eps)
                total, count = total.to(divergence.device) + divergence, count.to(known.device) + known
        if not count:
            raise ValueError("no row is left: every row is zero or holds NaN in some layer")
        cost = total / count
        if (least := float(cost.min())) < _NEGATIVE:
            raise ValueError(f"divergences of distributions are not negative, got {least:.2e} nats: eps is too large")
        self.cost_ = cost
        self.mapping_ = self._map(cost)
        return self

    def _map(self, cost: Tensor) -> Tensor:
        return monotone_map(cost) if self.monotone else greedy_map(cost)

    def _first_row(self, length: int) -> int:
        first = max(8, length // 10) if self.skip_rows is None else self.skip_rows
        if first >= length:
            raise ValueError(f"texts must have more than skip_rows = {first} tokens, got {length}")
        return first


def _maps(model: "PreTrainedModel", ids: Tensor) -> Sequence[Tensor]:
    """Attention of every layer on one text, averaged over heads, shape (t, t)."""
    with torch.no_grad(), capture_attention(model) as captured:
        model(ids.to(model.device), use_cache=False, logits_to_keep=1)
        return [weights[0] for weights in captured.weights]
