"""What a mask that has seen later drafts does to the law of an emitted token, by exact enumeration."""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from selectlib.attention._selection import Mask, draft_keep


@dataclass(frozen=True)
class ToyModel:
    """One layer of causal attention over a few tokens, given by tables.

    Attributes
    ----------
    scores : Tensor of float64, shape (v, t, v)
        Attention logit of a query token for a key at each position that holds each token.
    values : Tensor of float64, shape (t, v, v)
        What a position that holds a token adds to the logits of the next token.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> toy = ToyModel.random(vocab=3, length=5, generator=generator(100))
    >>> toy.laws(torch.tensor([[0, 2, 1]])).shape
    torch.Size([1, 3, 3])
    """

    scores: Float[Tensor, "v t v"]
    values: Float[Tensor, "t v v"]

    @classmethod
    def random(cls, *, vocab: int, length: int, generator: torch.Generator, spread: float = 1.0) -> "ToyModel":
        """Draw the tables from a normal law.

        Parameters
        ----------
        vocab : int
            Tokens, v.
        length : int
            Positions, t.
        generator : torch.Generator
            Source of the draws, on the CPU.
        spread : float, default 1.0
            Standard deviation of attention logits and values.

        Returns
        -------
        ToyModel
            With independent entries.

        Examples
        --------
        >>> from selectlib.seeding import generator
        >>> ToyModel.random(vocab=3, length=5, generator=generator(100)).scores.shape
        torch.Size([3, 5, 3])
        """
        scores = torch.randn(vocab, length, vocab, generator=generator, dtype=torch.float64)
        values = torch.randn(length, vocab, vocab, generator=generator, dtype=torch.float64)
        return cls(spread * scores, spread * values)

    def attention(self, tokens: Int[Tensor, "n l"]) -> Float[Tensor, "n l l"]:
        """Attention of each position over those up to it.

        Parameters
        ----------
        tokens : Tensor of int64, shape (n, l)
            Sequences, at most as long as the tables.

        Returns
        -------
        Tensor of float64, shape (n, l, l)
            Rows sum to 1.

        Examples
        --------
        >>> toy = ToyModel(torch.zeros(2, 3, 2, dtype=torch.float64), torch.zeros(3, 2, 2, dtype=torch.float64))
        >>> toy.attention(torch.tensor([[0, 1]])).tolist()
        [[[1.0, 0.0], [0.5, 0.5]]]
        """
        length = tokens.shape[1]
        logits = self.scores[tokens[:, :, None], torch.arange(length), tokens[:, None, :]]
        return logits.masked_fill(~torch.ones(length, length, dtype=torch.bool).tril(), -torch.inf).softmax(-1)

    def laws(self, tokens: Int[Tensor, "n l"], keep: Bool[Tensor, "n l l"] | None = None) -> Float[Tensor, "n l v"]:
        """Laws of the next token after each position.

        Parameters
        ----------
        tokens : Tensor of int64, shape (n, l)
            Sequences.
        keep : Tensor of bool, shape (n, l, l), optional
            Which positions each query may attend to, each row at least one. Default: all up to its own.

        Returns
        -------
        Tensor of float64, shape (n, l, v)
            Each sums to 1.

        Examples
        --------
        >>> from selectlib.seeding import generator
        >>> toy = ToyModel.random(vocab=3, length=5, generator=generator(100))
        >>> bool(torch.allclose(toy.laws(torch.tensor([[0, 2]])).sum(-1), torch.ones((), dtype=torch.float64)))
        True
        """
        weights = self.attention(tokens)
        if keep is not None:
            weights = weights * keep
            weights = weights / weights.sum(-1, keepdim=True)
        return (weights @ self.values[torch.arange(tokens.shape[1]), tokens]).softmax(-1)


@dataclass(frozen=True)
class MaskBias:
    """Distances between the law of an emitted token and the law that the sparse target gives.

    Attributes
    ----------
    own : Tensor of float64, shape (γ,)
        For each query of a step but the last: total variation between the law of the token emitted after it, given the
        tokens before it and its mask, and the target's law under that mask. Averaged over both, given that the step
        comes so far.
    averaged : Tensor of float64, shape (γ,)
        The same given the tokens alone, with the target's law averaged over the masks.

    Examples
    --------
    >>> MaskBias(torch.tensor([0.3, 0.0]), torch.tensor([0.05, 0.0])).own.shape
    torch.Size([2])
    """

    own: Float[Tensor, "g"]
    averaged: Float[Tensor, "g"]


def mask_bias(
    draft: ToyModel, target: ToyModel, committed: Int[Tensor, "c"], *, gamma: int, p: float = 0.7, mask: Mask = "causal"
) -> MaskBias:
    """Enumerate one step of speculative decoding in which the drafted tokens choose the target's mask.

    The draft's attention to the committed tokens selects what the target may read, as in decoding. With
    ``mask="published"`` a query's mask looks at the rows of later drafts, hence at the very token that is about to be
    tested: a token that was drafted is likelier under masks that it chose itself. The rule of acceptance does not know
    that, and what it emits no longer has the law of the target under the mask. With ``mask="causal"`` the mask follows
    from the tokens before, and the law is exact.

    Parameters
    ----------
    draft, target : ToyModel
        Models over one vocabulary.
    committed : Tensor of int64, shape (c,)
        Tokens so far, c >= 1; the last one is the step's first query.
    gamma : int
        Drafted tokens, at least 1; ``c + gamma`` positions must fit the models.
    p : float, default 0.7
        Attention mass that is kept.
    mask : {"causal", "published"}
        How the rows of a step are joined; see `SpecAttnDecoder`.

    Returns
    -------
    MaskBias
        One pair of distances a query.

    Raises
    ------
    ValueError
        If the vocabularies differ, `p` is not in (0, 1], there is no committed token, `gamma` is below 1, the models
        are too short or `mask` is unknown.

    Notes
    -----
    Enumerates the ``v ** gamma`` drafts; no sampling. The last query, after all drafts, is exact under both masks: its
    token is drawn after its mask is known. So is the query before it, as no row comes after its own. The paper's union
    is ``mask="published"``; the finding and the causal mask are ours.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> source = generator(100)
    >>> draft, target = (ToyModel.random(vocab=3, length=8, generator=source) for _ in range(2))
    >>> committed = torch.tensor([0, 1, 2, 1, 0])
    >>> bool(mask_bias(draft, target, committed, gamma=3).own.max() < 1e-12)
    True
    >>> bool(mask_bias(draft, target, committed, gamma=3, mask="published").own.max() > 0.01)
    True
    """
    v, t = draft.scores.shape[:2]
    if target.scores.shape[0] != v:
        raise ValueError(f"draft and target must share a vocabulary; got {v} and {target.scores.shape[0]} tokens")
    if not 0 < p <= 1:
        raise ValueError(f"p must be in (0, 1], got {p}")
    if len(committed) < 1 or gamma < 1:
        raise ValueError(f"committed must hold a token and gamma be at least 1; got {len(committed)} and {gamma}")
    if len(committed) + gamma > min(t, target.scores.shape[1]):
        raise ValueError(
            f"the models must have {len(committed) + gamma} positions, got {t} and {target.scores.shape[1]}"
        )
    drafts = torch.tensor(list(itertools.product(range(v), repeat=gamma)))  # (n, γ)
    tokens = torch.cat([committed.expand(len(drafts), -1), drafts], 1)
    start = len(committed) - 1
    q = draft.laws(tokens)[:, start : start + gamma]
    keep = toy_keep(draft, tokens, start, p, mask)
    return _distances(drafts, q, target.laws(tokens, keep)[:, start:], keep[:, start:, :start])


def toy_keep(draft: ToyModel, tokens: Int[Tensor, "n l"], start: int, p: float, mask: Mask) -> Bool[Tensor, "n l l"]:
    """What each query may attend to, in a step that began with a cache of `start` tokens; dense before that."""
    length = tokens.shape[1]
    keep = torch.ones(length, length, dtype=torch.bool).tril().repeat(len(tokens), 1, 1)
    rows = draft.attention(tokens)[:, start:-1].float()  # the last query has no row of its own
    positions = torch.arange(start, length)
    keep[:, start:, :start] = draft_keep(rows, positions[:-1], positions, start, p, mask)[..., :start]
    return keep


def _distances(
    drafts: Int[Tensor, "n g"], q: Float[Tensor, "n g v"], p: Float[Tensor, "n h v"], masks: Bool[Tensor, "n h c"]
) -> MaskBias:
    """Both distances for each query, from all drafts, their laws and the masks that they lead to."""
    chosen = drafts[..., None]
    drafted_q, p = q.gather(2, chosen)[..., 0], p[:, :-1]
    accepts = (p.gather(2, chosen)[..., 0] / drafted_q).clamp(max=1)
    residual = (p - q).clamp(min=0)
    residual = residual / residual.sum(-1, keepdim=True).clamp(min=torch.finfo(p.dtype).tiny)
    own, averaged = [], []
    for s in range(drafts.shape[1]):
        weight = drafted_q.prod(1) * accepts[:, :s].prod(1)  # of a draft that comes as far as query s
        rejected = (1 - accepts[:, s, None]) * residual[:, s]
        emitted = weight[:, None] * rejected.scatter_add(1, drafts[:, s, None], accepts[:, s, None])
        said = weight[:, None] * p[:, s]
        before = drafts[:, :s]
        own.append(_mean_distance(emitted, said, torch.cat([before, masks[:, s].long()], 1)))
        averaged.append(_mean_distance(emitted, said, before))
    return MaskBias(torch.stack(own), torch.stack(averaged))


def _mean_distance(first: Tensor, second: Tensor, given: Tensor) -> Tensor:
    """Mean total variation between two laws given some columns; both come as joint masses, one row a draft."""
    if given.shape[1] == 0:
        group = torch.zeros(len(given), dtype=torch.int64)
    else:
        group = given.unique(dim=0, return_inverse=True)[1]
    masses = [x.new_zeros(int(group.max()) + 1, x.shape[1]).index_add(0, group, x) for x in (first, second)]
    return (masses[0] - masses[1]).abs().sum() / 2 / second.sum()
