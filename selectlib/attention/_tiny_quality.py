"""How well a small model reads running text, and whether it finds what stands in it."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from selectlib.attention._needles import needle_documents

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


@torch.inference_mode()
def text_perplexity(model: "LlamaForCausalLM", tokens: Int[Tensor, "m"], *, length: int, batch: int = 8) -> float:
    """Measure the perplexity of running text, cut into windows.

    Parameters
    ----------
    model : LlamaForCausalLM
        The model.
    tokens : Tensor of int64, shape (m,)
        The text.
    length : int
        Tokens of a window; what is left at the end is dropped.
    batch : int, default 8
        Windows of a forward pass.

    Returns
    -------
    float
        exp of the mean loss over all tokens of a window but its first.

    Raises
    ------
    ValueError
        If the text is shorter than a window.

    Examples
    --------
    >>> from selectlib.attention import new_llama
    >>> model = new_llama(32, width=16, layers=1, heads=2, kv_heads=1, hidden=32, context=64, seed=100)
    >>> 30 < text_perplexity(model, torch.arange(500) % 7, length=16) < 34
    True
    """
    count = len(tokens) // length
    if count == 0:
        raise ValueError(f"tokens must hold a window of {length}, got {len(tokens)}")
    total = torch.zeros((), dtype=torch.float64, device=model.device)
    for ids in tokens[: count * length].view(count, length).split(batch):
        ids = ids.to(model.device)
        logits = float_logits(model, ids[:, :-1])
        total += F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
    return float((total / (count * (length - 1))).exp())


@torch.inference_mode()
def answer_accuracy(
    model: "LlamaForCausalLM",
    tokens: Int[Tensor, "m"],
    *,
    n: int,
    length: int,
    seed: int,
    batch: int = 8,
    classes: int = 8,
    entities: int = 16,
    vocab_size: int = 512,
) -> float:
    """Measure how often the most likely token is the right answer in needle documents.

    Parameters
    ----------
    model : LlamaForCausalLM
        The model.
    tokens : Tensor of int64, shape (m,)
        Text to fill with.
    n, length, seed : int
        Documents, tokens of each, and their seed.
    batch : int, default 8
        Documents of a forward pass.
    classes, entities, vocab_size : int, default 8, 16 and 512
        As in `needle_documents`.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError
        As `needle_documents`.

    Examples
    --------
    >>> from selectlib.attention import new_llama
    >>> model = new_llama(648, width=16, layers=1, heads=2, kv_heads=1, hidden=32, context=64, seed=100)
    >>> answer_accuracy(model, torch.arange(2000) % 7, n=8, length=64, seed=100) < 0.2
    True
    """
    documents = needle_documents(
        tokens, n, length, classes=classes, entities=entities, vocab_size=vocab_size, seed=seed
    )
    right = 0
    for ids, answers in zip(documents.ids.split(batch), documents.answers.split(batch), strict=True):
        ids, answers = ids.to(model.device), answers.to(model.device)
        guesses = float_logits(model, ids).argmax(-1)
        right += int((guesses.gather(1, answers - 1) == ids.gather(1, answers)).sum())
    return right / documents.answers.numel()


def float_logits(model: "LlamaForCausalLM", ids: Int[Tensor, "b t"]) -> Float[Tensor, "b t v"]:
    """Logits in float32; on CUDA the pass before runs in bfloat16."""
    precision: AbstractContextManager = nullcontext()
    if ids.device.type == "cuda":
        precision = torch.autocast("cuda", dtype=torch.bfloat16)
    with precision:
        logits = model(input_ids=ids, use_cache=False).logits
    return logits.float()
