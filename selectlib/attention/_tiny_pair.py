"""The pair of tiny Llama models that comes with the library."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Int
from torch import Tensor

from selectlib.attention._needles import needle_names
from selectlib.attention._tiny_training import Lesson, new_llama, train_on_needles
from selectlib.data import sequences, topic_texts, train_bpe

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM

FOLDER = Path(__file__).parent / "tiny_pair"
SIZES = {
    "draft": {"width": 48, "layers": 3, "heads": 4, "kv_heads": 2, "hidden": 128},
    "target": {"width": 96, "layers": 4, "heads": 4, "kv_heads": 4, "hidden": 256},
}
TEXT_TOKENS = 512
CONTEXT = 512
# The target has five times the parameters for the same little text: with more steps it learns the text by heart.
TEXT_LESSONS = {
    "draft": Lesson(length=512, batch=4, steps=1200),
    "target": Lesson(length=512, batch=4, steps=700),
}
CURRICULA = {  # steps at 32, 64, 128, 256 and 512 tokens; a step always sees 2,048 tokens
    name: tuple(Lesson(2**i, 2 ** (11 - i), steps) for i, steps in enumerate(counts, start=5))
    for name, counts in {"draft": (400, 120, 200, 200, 150), "target": (280, 60, 110, 170, 110)}.items()
}


@dataclass(frozen=True)
class TinyPair:
    """A draft and a target that share a tokenizer of 648 tokens: 512 of text, 136 of needles.

    Attributes
    ----------
    draft, target : LlamaForCausalLM
        In float32 on the CPU, in eval mode: 0.11 and 0.51 million parameters, 3 and 4 layers, context of 512 tokens.
    tokenizer : tokenizers.Tokenizer
        Byte-level BPE without special tokens; its last tokens are `needle_names()`.
    provenance : mapping
        Seed, steps, checksums, versions, and what was measured when the pair was made; empty for an untrained pair.
    """

    draft: "LlamaForCausalLM"
    target: "LlamaForCausalLM"
    tokenizer: "Tokenizer"
    provenance: Mapping[str, Any]


def tiny_llama_pair(pretrained: bool = True) -> TinyPair:
    """Load the pair of tiny Llama models that comes with the library: trained on Python's help topics and on needles.

    Parameters
    ----------
    pretrained : bool, default True
        False gives untrained models of the same sizes, and a tokenizer learned on the spot.

    Returns
    -------
    TinyPair
        New models at each call.

    Raises
    ------
    ImportError
        If transformers, tokenizers or safetensors is not installed: the extra ``hf`` brings them.
    ValueError
        If a shipped file is not the one that was made: its checksum differs.

    Notes
    -----
    ``workflow/train_tiny_pair.py`` makes the files. The weights are stored in half precision, read through safetensors,
    and computed with in float32.

    Examples
    --------
    >>> pair = tiny_llama_pair()
    >>> pair.draft.config.num_hidden_layers, pair.target.config.num_hidden_layers, pair.tokenizer.get_vocab_size()
    (3, 4, 648)
    """
    if not pretrained:
        return TinyPair(new_tiny("draft", 100), new_tiny("target", 100), new_tokenizer(), {})
    provenance = json.loads((FOLDER / "provenance.json").read_text())
    tokenizer = _library("tokenizers").Tokenizer.from_buffer(_read("tokenizer.json", provenance))
    return TinyPair(_load("draft", provenance), _load("target", provenance), tokenizer, provenance)


def tiny_draft_after_text() -> "LlamaForCausalLM":
    """Load the tiny pair's draft as it was after its text stage: it cannot look anything up yet.

    Returns
    -------
    LlamaForCausalLM
        A new model, in float32 on the CPU, in eval mode.

    Raises
    ------
    ImportError, ValueError
        As `tiny_llama_pair`.

    Examples
    --------
    >>> tiny_draft_after_text().config.hidden_size
    48
    """
    return _load("draft_text", json.loads((FOLDER / "provenance.json").read_text()))


def retrain_tiny_draft(
    train: Int[Tensor, "m"],
    seed: int,
    *,
    curriculum: tuple[Lesson, ...] = CURRICULA["draft"],
    progress: Callable[[int, float], None] | None = None,
) -> "LlamaForCausalLM":
    """Repeat the needle stage of the tiny pair's draft, from its shipped text stage, with a seed of its own.

    Parameters
    ----------
    train : Tensor of int64, shape (m,)
        The training part of `tiny_texts`.
    seed : int
        Of the documents. The shipped draft was made with 100.
    curriculum : tuple of Lesson, default that of the shipped draft
        Lessons in their order.
    progress : callable, optional
        As in `train_on_needles`.

    Returns
    -------
    LlamaForCausalLM
        A draft, on the CPU.

    Raises
    ------
    ImportError, ValueError
        As `tiny_llama_pair` and `train_on_needles`.

    Notes
    -----
    About a minute and a half of one core.

    Examples
    --------
    >>> import torch
    >>> draft = retrain_tiny_draft(torch.arange(500) % 500, 100, curriculum=(Lesson(32, 2, 1),))
    >>> draft.training
    False
    """
    return train_on_needles(tiny_draft_after_text(), train, curriculum, seed=seed, progress=progress)


def tiny_texts(tokenizer: "Tokenizer") -> tuple[Int[Tensor, "m"], Int[Tensor, "h"]]:
    """Encode Python's help topics, split by topic: every eighth is held out from training.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
        The pair's tokenizer, which was learned from all topics.

    Returns
    -------
    train, held_out : Tensor of int64, shapes (m,) and (h,)
        About 199,000 and 18,000 tokens, topics joined in alphabetic order.

    Examples
    --------
    >>> train, held_out = tiny_texts(tiny_llama_pair().tokenizer)
    >>> len(train) > 5 * len(held_out)
    True
    """
    texts = topic_texts().texts
    train = [text for i, text in enumerate(texts) if i % 8]
    return sequences(tokenizer, train, 1)[0].flatten(), sequences(tokenizer, texts[::8], 1)[0].flatten()


def new_tiny(name: str, seed: int) -> "LlamaForCausalLM":
    """An untrained ``"draft"`` or ``"target"``."""
    return new_llama(TEXT_TOKENS + len(needle_names()), **SIZES[name], context=CONTEXT, seed=seed)


def new_tokenizer() -> "Tokenizer":
    """The tokenizer of Python's help topics, with the needles' tokens behind the text's."""
    tokenizer = train_bpe(topic_texts().texts, TEXT_TOKENS)
    tokenizer.add_tokens(needle_names())
    return tokenizer


def _load(name: str, provenance: Mapping[str, Any]) -> "LlamaForCausalLM":
    weights = _library("safetensors.torch").load(_read(f"{name}/model.safetensors", provenance))
    model = new_tiny("draft" if name == "draft_text" else name, 0)
    # The output matrix is the embedding; in the hub's format a tied matrix is stored once.
    model.load_state_dict({**weights, "lm_head.weight": weights["model.embed_tokens.weight"]})
    return model.eval()


def _read(name: str, provenance: Mapping[str, Any]) -> bytes:
    """The bytes of a shipped file, which must be the ones that were made."""
    content = (FOLDER / name).read_bytes()
    found, made = hashlib.sha256(content).hexdigest(), provenance["files"][name]
    if found != made:
        raise ValueError(f"{name} of the tiny pair must have the checksum {made}, got {found}")
    return content


def _library(name: str):
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"{name.partition('.')[0]} is missing: pip install 'what-to-keep[hf]'") from error
