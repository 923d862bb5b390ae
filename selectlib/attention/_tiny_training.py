"""Training of a draft and a target that can look facts up: running text first, then needles at growing lengths."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from selectlib.attention._needles import needle_documents
from selectlib.attention._tiny_quality import float_logits
from selectlib.seeding import generator, uniform_indices

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

_ANSWER_WEIGHT = 4.0  # of an answer's loss; a filler token has 1
_WARM_UP = 20


@dataclass(frozen=True)
class Lesson:
    """Some steps of training at one length.

    Attributes
    ----------
    length : int
        Tokens of a document.
    batch : int
        Documents of a step.
    steps : int
        Steps of the optimisers.

    Examples
    --------
    >>> Lesson(length=32, batch=64, steps=250).tokens
    512000
    """

    length: int
    batch: int
    steps: int

    @property
    def tokens(self) -> int:
        """Tokens seen in all."""
        return self.length * self.batch * self.steps


def new_llama(
    vocab_size: int, width: int, layers: int, heads: int, kv_heads: int, hidden: int, context: int, *, seed: int
) -> "LlamaForCausalLM":
    """Make an untrained Llama model with tied embeddings and rotary base 10,000.

    Parameters
    ----------
    vocab_size, width, layers, heads, kv_heads, hidden, context : int
        Tokens, width of the residual stream, layers, query heads, key-value heads, width inside the perceptron, and
        longest sequence [tokens].
    seed : int
        Of the first weights.

    Returns
    -------
    LlamaForCausalLM
        In float32 on the CPU.

    Raises
    ------
    ImportError
        If transformers is not installed: the extra ``hf`` brings it.

    Examples
    --------
    >>> model = new_llama(32, width=16, layers=1, heads=2, kv_heads=1, hidden=32, context=64, seed=100)
    >>> sum(p.numel() for p in model.parameters())
    2864
    """
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise ImportError("transformers is missing: pip install 'what-to-keep[hf]'") from error
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=hidden,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,  # the tokenizer has no special tokens
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def train_on_text(
    model: "LlamaForCausalLM",
    tokens: Int[Tensor, "m"],
    lesson: Lesson,
    *,
    seed: int,
    vocab_size: int = 512,
    muon_lr: float = 0.02,
    adam_lr: float = 6e-3,
    progress: Callable[[int, float], None] | None = None,
) -> "LlamaForCausalLM":
    """Teach a model to predict running text: the first of two stages.

    Parameters
    ----------
    model : LlamaForCausalLM
        Trained in place, on its own device.
    tokens : Tensor of int64, shape (m,)
        The text.
    lesson : Lesson
        Length, batch and steps.
    seed : int
        Of the excerpts.
    vocab_size : int, default 512
        Tokens of the text. Rows of the embedding beyond it are left as they are, for the second stage.
    muon_lr, adam_lr : float, default 0.02 and 6e-3
        Highest learning rates of the matrices, and of embeddings and norms.
    progress : callable, optional
        Called with the step and its loss [nats a token] after every hundredth step.

    Returns
    -------
    LlamaForCausalLM
        The same model, in eval mode.

    Raises
    ------
    ValueError
        If the text is shorter than an excerpt.

    Notes
    -----
    The learning rates rise over 20 steps and fall linearly over the second half. On CUDA the forward pass runs in
    bfloat16.

    Examples
    --------
    >>> from selectlib.attention import text_perplexity
    >>> model = new_llama(32, width=16, layers=1, heads=2, kv_heads=1, hidden=32, context=64, seed=100)
    >>> text = torch.arange(500) % 7
    >>> _ = train_on_text(model, text, Lesson(16, 4, 30), seed=100, vocab_size=32)
    >>> text_perplexity(model, text, length=16) < 20
    True
    """
    if len(tokens) <= lesson.length:
        raise ValueError(f"tokens must be longer than an excerpt of {lesson.length}, got {len(tokens)}")
    device = model.device
    tokens, source = tokens.to(device), generator(seed)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        weights = torch.ones(lesson.batch, lesson.length - 1, device=device)
        for _ in range(lesson.steps):
            start = uniform_indices(len(tokens) - lesson.length + 1, lesson.batch, generator=source).to(device)
            yield tokens[start[:, None] + torch.arange(lesson.length, device=device)], weights

    return _train(model, batches(), lesson.steps, vocab_size, muon_lr, adam_lr, progress)


def train_on_needles(
    model: "LlamaForCausalLM",
    tokens: Int[Tensor, "m"],
    curriculum: Sequence[Lesson],
    *,
    seed: int,
    classes: int = 8,
    entities: int = 16,
    vocab_size: int = 512,
    muon_lr: float = 0.01,
    adam_lr: float = 4e-3,
    progress: Callable[[int, float], None] | None = None,
) -> "LlamaForCausalLM":
    """Teach a model to look up what a document planted: the second of two stages.

    The lengths must grow. Begun at 128 tokens, the loss of the answers stays at guessing within the class; begun at 32,
    it is solved after some hundred steps, and each longer lesson starts from a model that can.

    Parameters
    ----------
    model : LlamaForCausalLM
        A model that has learned text; trained in place, on its own device. Its vocabulary has room for the needles.
    tokens : Tensor of int64, shape (m,)
        Text to fill with.
    curriculum : sequence of Lesson
        Lessons in their order.
    seed : int
        Of the documents.
    classes, entities, vocab_size : int, default 8, 16 and 512
        As in `needle_documents`.
    muon_lr, adam_lr : float, default 0.01 and 4e-3
        Highest learning rates of the matrices, and of embeddings and norms.
    progress : callable, optional
        Called with the step and its weighted loss [nats a token] after every hundredth step.

    Returns
    -------
    LlamaForCausalLM
        The same model, in eval mode.

    Raises
    ------
    ValueError
        If the curriculum is empty, or the model's vocabulary is too small for the needles.

    Notes
    -----
    An answer weighs as much as four filler tokens. Schedule and precision as in `train_on_text`.

    Examples
    --------
    >>> from selectlib.attention import answer_accuracy
    >>> model = new_llama(16, width=16, layers=1, heads=2, kv_heads=1, hidden=32, context=64, seed=100)
    >>> text, sizes = torch.arange(500) % 7, dict(classes=2, entities=3, vocab_size=7)
    >>> _ = train_on_needles(model, text, [Lesson(12, 8, 40), Lesson(24, 8, 20)], seed=100, **sizes)
    >>> answer_accuracy(model, text, n=8, length=24, seed=101, **sizes) > 0.4
    True
    """
    if not curriculum:
        raise ValueError("curriculum must hold at least one lesson")
    needed = vocab_size + classes * (entities + 1)
    if model.config.vocab_size < needed:
        raise ValueError(f"model must have a vocabulary of {needed} tokens, got {model.config.vocab_size}")
    source, text = generator(seed), tokens.cpu()

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for lesson in curriculum:
            for _ in range(lesson.steps):
                documents = needle_documents(
                    text, lesson.batch, lesson.length, classes=classes, entities=entities, vocab_size=vocab_size,
                    seed=source,
                )  # fmt: skip
                weights = torch.ones(lesson.batch, lesson.length)
                weights.scatter_(1, documents.answers, _ANSWER_WEIGHT)
                yield documents.ids.to(model.device), weights[:, 1:].to(model.device)

    steps = sum(lesson.steps for lesson in curriculum)
    return _train(model, batches(), steps, needed, muon_lr, adam_lr, progress)


def _train(
    model: "LlamaForCausalLM",
    batches: Iterator[tuple[Tensor, Tensor]],
    steps: int,
    vocab_size: int,
    muon_lr: float,
    adam_lr: float,
    progress: Callable[[int, float], None] | None,
) -> "LlamaForCausalLM":
    inner = [p for p in model.model.layers.parameters() if p.ndim == 2]
    outer = [p for p in model.parameters() if all(p is not q for q in inner)]
    optimizers = (
        torch.optim.Muon(inner, lr=muon_lr, adjust_lr_fn="original"),
        torch.optim.AdamW(outer, lr=adam_lr, weight_decay=0.0),
    )
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: _rate(step, steps)) for o in optimizers]
    model.train()
    for step, (ids, weights) in enumerate(batches):
        logits = float_logits(model, ids[:, :-1])[..., :vocab_size]
        losses = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view_as(weights)
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if progress is not None and (step + 1) % 100 == 0:
            progress(step + 1, float(loss.detach()))
    return model.eval()


def _rate(step: int, steps: int) -> float:
    """Share of the highest learning rate: a short rise, then constant, then a linear fall over the second half."""
    return min(1.0, (step + 1) / _WARM_UP, 2 * (steps - step) / steps)
