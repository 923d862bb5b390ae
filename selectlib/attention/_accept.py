"""Which drafted tokens the target accepts, and what it says where it accepts no more."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

_SUM = 1e-3  # how far from 1 a law may sum


def speculative_accept(
    draft_tokens: Int[Tensor, "b g"],
    draft_probs: Float[Tensor, "b g v"],
    target_probs: Float[Tensor, "b g+1 v"],
    *,
    generator: torch.Generator,
) -> tuple[Int[Tensor, "b g+1"], Int[Tensor, "b"]]:
    """Accept the first drafted tokens of each row and add one token, so that all have the target's law.

    Token ``x_s`` is accepted if ``u_s q_s(x_s) < p_s(x_s)``, with ``u_s`` uniform on [0, 1). Where it is not, the row
    ends with a token from the residual law, ``max(p_s - q_s, 0)`` scaled to sum 1. Where all are accepted, it ends with
    a token from ``p_γ``.

    Parameters
    ----------
    draft_tokens : Tensor of int64, shape (b, γ)
        Drafted tokens, γ >= 1, token ``s`` drawn from ``draft_probs[:, s]``.
    draft_probs : Tensor of float32 or float64, shape (b, γ, v)
        Laws of the draft, ``q_s``; each sums to 1.
    target_probs : Tensor of the same dtype, shape (b, γ + 1, v)
        Laws of the target after the same tokens, ``p_s``; the last one follows all γ tokens.
    generator : torch.Generator
        Source of the draws, on the device of the tensors.

    Returns
    -------
    tokens : Tensor of int64, shape (b, γ + 1)
        In each row the accepted tokens, then the added one, then -1.
    n_accepted : Tensor of int64, shape (b,)
        Accepted tokens, from 0 to γ; ``n_accepted + 1`` tokens of the row are valid.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype, or `generator` is no generator.
    ValueError
        If shapes do not fit, a token is outside the vocabulary or has probability 0 under its own law, or a row of
        probabilities is negative, not finite or does not sum to 1 within 1e-3.

    Notes
    -----
    Exact up to the grid of the uniform numbers (2**-24 in float32, 2**-53 in float64), for any draft. If the residual
    sums to 0, which rounding alone can cause, the added token comes from ``p_s``. Time O(b γ v), no loop over rows.
    The check of values waits for the device once. Leviathan, Kalman and Matias, "Fast inference from transformers via
    speculative decoding", ICML 2023, algorithm 1; SpecAttn verifies with the same rule.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> q = torch.tensor([[[0.5, 0.5, 0.0]]])
    >>> p = torch.tensor([[[0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]])
    >>> tokens, accepted = speculative_accept(torch.tensor([[0]]), q, p, generator=generator(100))
    >>> tokens, accepted  # 0 is impossible for the target, and the residual law is all on 2
    (tensor([[ 2, -1]]), tensor([0]))
    """
    _check(draft_tokens, draft_probs, target_probs, generator)
    return accept(draft_tokens, draft_probs, target_probs, generator)


def accept(drafted: Tensor, q: Tensor, p: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`speculative_accept` without its checks, so that nothing waits for the device."""
    b, g = drafted.shape
    drafted_p, drafted_q = (x.gather(2, drafted[..., None])[..., 0] for x in (p[:, :g], q))
    u = torch.rand(b, g, generator=generator, dtype=p.dtype, device=p.device)
    accepted = (u * drafted_q < drafted_p).cumprod(1).sum(1)
    # One law of zeros after the draft's makes the residual of an accepted row the target's own last law.
    at = accepted[:, None, None].expand(-1, 1, p.shape[2])
    last = p.gather(1, at)[:, 0]
    residual = (last - F.pad(q, (0, 0, 0, 1)).gather(1, at)[:, 0]).clamp_(min=0)
    residual = torch.where(residual.sum(1, keepdim=True) > 0, residual, last)
    added = torch.multinomial(residual, 1, generator=generator)
    return join(drafted, accepted, added), accepted


def greedy_accept(drafted: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Accept the drafted tokens (b, g) while they are the largest of the target's logits (b, g + 1, v)."""
    best = logits.argmax(-1)
    accepted = (best[:, :-1] == drafted).cumprod(1).sum(1)
    return join(drafted, accepted, best.gather(1, accepted[:, None])), accepted


def join(drafted: Tensor, accepted: Tensor, added: Tensor) -> Tensor:
    """The accepted tokens of each row, then the added one, then -1."""
    place = torch.arange(drafted.shape[1] + 1, device=drafted.device)
    tokens = F.pad(drafted, (0, 1)).where(place < accepted[:, None], -1)
    return tokens.scatter(1, accepted[:, None], added)


def _check(drafted: Tensor, q: Tensor, p: Tensor, generator: torch.Generator) -> None:
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    if drafted.dtype != torch.int64:
        raise TypeError(f"draft_tokens must be int64, got {drafted.dtype}")
    for name, x in (("draft_probs", q), ("target_probs", p)):
        if x.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"{name} must be float32 or float64, got {x.dtype}")
    if p.dtype != q.dtype:
        raise TypeError(f"draft_probs and target_probs must have one dtype, got {q.dtype} and {p.dtype}")
    b, g = drafted.shape
    if g < 1:
        raise ValueError("draft_tokens must hold at least 1 token a row, got 0")
    v = q.shape[2]
    if q.shape != (b, g, v) or p.shape != (b, g + 1, v):
        raise ValueError(
            f"for draft_tokens of shape ({b}, {g}), draft_probs must be ({b}, {g}, v) and target_probs ({b}, {g + 1}, "
            f"v); got {tuple(q.shape)} and {tuple(p.shape)}"
        )
    inside = (drafted >= 0) & (drafted < v)
    possible = q.gather(2, drafted.clamp(0, v - 1)[..., None])[..., 0] > 0
    wrong = torch.stack([~inside.all(), ~possible.all(), ~_are_laws(q), ~_are_laws(p)]).tolist()
    messages = (
        f"draft_tokens must be from 0 to {v - 1}",
        "draft_tokens must have positive probability under draft_probs",
        f"draft_probs must be at least 0, finite and sum to 1 within {_SUM:g}",
        f"target_probs must be at least 0, finite and sum to 1 within {_SUM:g}",
    )
    for is_wrong, message in zip(wrong, messages, strict=True):
        if is_wrong:
            raise ValueError(message)


def _are_laws(x: Tensor) -> Tensor:
    return (x >= 0).all() & ((x.sum(-1) - 1).abs() <= _SUM).all()  # NaN fails both, infinity the second
