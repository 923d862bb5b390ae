"""The races of the SpecAttn benchmark on the tiny pair: one-pass evaluation, and speculative decoding."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from _harness import Contestant, ratio
from _specattn_kernels import SEED, Setting
from torch import Tensor
from transformers import LlamaForCausalLM
from transformers.utils import logging

from selectlib.attention import (
    LayerAlignment,
    SpecAttnDecoder,
    SpecAttnPolicy,
    masked_perplexity,
    needle_documents,
    stepwise_logits,
    tiny_llama_pair,
    tiny_texts,
)

GAMMA = 4  # drafted tokens a step, of every side
SPARSE = 0.95  # kept attention mass of the sparse side
LENGTH = 512  # of a text that is evaluated, and the pair's context


@dataclass
class Text:
    """The tiny pair on a device, its layer map, and texts that it never saw."""

    draft: LlamaForCausalLM
    target: LlamaForCausalLM
    alignment: LayerAlignment
    documents: Tensor

    @classmethod
    def load(cls, setting: Setting) -> "Text":
        pair = tiny_llama_pair()
        train, held_out = tiny_texts(pair.tokenizer)
        count = len(held_out) // LENGTH  # pieces of text that do not overlap
        documents = needle_documents(held_out, count, LENGTH, seed=SEED).ids
        calibration = needle_documents(train, 4, LENGTH, seed=SEED).ids
        alignment = LayerAlignment.from_models(pair.draft, pair.target, calibration)
        draft, target = (model.to(setting.device) for model in (pair.draft, pair.target))
        return cls(draft, target, alignment, documents.to(setting.device))

    def decoder(self, p: float | None) -> SpecAttnDecoder:
        return SpecAttnDecoder(self.target, self.draft, self.alignment, p=p, gamma=GAMMA, dense_layers=0)


def evaluations(text: Text) -> dict[str, Callable[[Tensor], Tensor]]:
    """Logits of a document under the sparse masks, in one pass and step by step."""
    options = {"gamma": GAMMA, "dense_layers": 0, "draft": text.draft}

    def in_one_pass(ids: Tensor) -> Tensor:
        everywhere = torch.arange(ids.shape[1], device=ids.device)[None]
        policy = SpecAttnPolicy(text.alignment, SPARSE)
        return masked_perplexity(text.target, ids, policy, positions=everywhere, **options).logits[0]

    def in_steps(ids: Tensor) -> Tensor:
        return stepwise_logits(text.target, ids, SpecAttnPolicy(text.alignment, SPARSE), **options)

    return {"one_pass": in_one_pass, "loop": in_steps}


def one_pass_difference(text: Text) -> tuple[int, float]:
    """Number of logits, and the largest difference between one pass and the loop."""
    logits = [evaluate(text.documents[:1]) for evaluate in evaluations(text).values()]
    return logits[0].numel(), float((logits[0] - logits[1]).abs().max())


def one_pass(setting: Setting) -> dict:
    """Perplexity under sparse masks: one pass of each model, against the loop over steps with a cache."""
    text = Text.load(setting)
    length = 128 if setting.quick else LENGTH
    labels = {"one_pass": "one pass (ours)", "loop": "loop with a cache (ours)"}

    def contestant(name: str, evaluate: Callable[[Tensor], Tensor]) -> Contestant:
        def prepare(seed: int) -> Tensor:
            return text.documents[(seed - SEED) % len(text.documents)][None, :length]

        return Contestant(name, labels[name], prepare, evaluate, setting.repeats(7))

    rows = setting.race([contestant(*item) for item in evaluations(text).items()], "evaluation")
    rows["loop"]["over"] = {"one_pass": ratio(rows["loop"]["seconds"], rows["one_pass"]["seconds"])}
    return {
        "title": "Evaluation in one pass",
        "note": f"Seconds for the logits of a document of {length} tokens under the masks of p = {SPARSE}, gamma = "
        f"{GAMMA}, draft and target included; the tiny pair, document r in repeat r.",
        "parts": [{"heading": f"{length} tokens", "length": length, "rows": rows}],
    }


def generators(text: Text, new_tokens: int) -> dict[str, tuple[str, Callable[[Tensor], tuple[Tensor, dict]], bool]]:
    """By name: label, greedy continuation of a prompt with what is known of it, and whether it is somebody else's."""
    logging.set_verbosity_error()
    assistant = text.draft.generation_config
    assistant.num_assistant_tokens, assistant.num_assistant_tokens_schedule = GAMMA, "constant"
    assistant.assistant_confidence_threshold = 0.0  # it would stop drafting early
    limits = {"do_sample": False, "max_new_tokens": new_tokens, "min_new_tokens": new_tokens}

    def theirs(prompt: Tensor, **assisted: LlamaForCausalLM) -> tuple[Tensor, dict]:
        return text.target.generate(prompt, attention_mask=torch.ones_like(prompt), **limits, **assisted), {}

    def ours(decoder: SpecAttnDecoder, prompt: Tensor) -> tuple[Tensor, dict]:
        result = decoder.generate(prompt, max_new_tokens=new_tokens, do_sample=False)
        stats = result.stats
        return result.sequences, {"accepted": 100 * stats.acceptance, "saved": 100 * stats.reduction("all")}

    dense, sparse = text.decoder(None), text.decoder(SPARSE)
    return {
        "plain": ("transformers, target alone", theirs, True),
        "assisted": (
            "transformers, assisted generation",
            lambda prompt: theirs(prompt, assistant_model=text.draft),
            True,
        ),
        "dense": ("dense masks (ours)", lambda prompt: ours(dense, prompt), False),
        "sparse": (f"sparse, p = {SPARSE} (ours)", lambda prompt: ours(sparse, prompt), False),
    }


def greedy_disagreements(text: Text, prompts: int = 5, new_tokens: int = 64) -> dict[str, tuple[int, int]]:
    """For both ways of speculative decoding: tokens compared with the target alone, and how many differ."""
    ways = generators(text, new_tokens)
    found = {name: 0 for name in ("assisted", "dense")}
    for document in text.documents[:prompts]:
        prompt = document[None, : LENGTH - new_tokens]
        expected = ways["plain"][1](prompt)[0]
        for name in found:
            found[name] += int((ways[name][1](prompt)[0] != expected).sum())
    return {name: (prompts * new_tokens, wrong) for name, wrong in found.items()}


def decoding(setting: Setting) -> dict:
    """Greedy continuation of needle documents by the tiny pair."""
    text = Text.load(setting)
    new_tokens = 16 if setting.quick else 64

    def contestant(name: str, label: str, generate: Callable, peer: bool) -> Contestant:
        def prepare(seed: int) -> Tensor:
            return text.documents[(seed - SEED) % len(text.documents)][None, : LENGTH - new_tokens]

        return Contestant(
            name, label, prepare, generate, setting.repeats(15), lambda made: made[1], per=new_tokens, peer=peer
        )

    ways = generators(text, new_tokens)
    rows = setting.race([contestant(name, *way) for name, way in ways.items()], "decoding")
    rows["sparse"]["over"] = {"dense": ratio(rows["sparse"]["seconds"], rows["dense"]["seconds"])}
    return {
        "title": "Speculative decoding",
        "note": f"Seconds a token, whole call, prompt included: {LENGTH - new_tokens} tokens of a needle document, "
        f"{new_tokens} new ones, greedy; the tiny pair, {GAMMA} drafted tokens a step on every side, document r in "
        "repeat r. Accepted: share of the drafted tokens. Saved: share of the target's cache reads.",
        "parts": [
            {
                "heading": f"{new_tokens} new tokens",
                "facts": {"accepted": "accepted [%]", "saved": "saved [%]"},
                "rows": rows,
            }
        ],
    }
