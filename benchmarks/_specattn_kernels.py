"""The races of the SpecAttn benchmark that need no trained model: top-p masks, and attention over kept tokens."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from _harness import Contestant, race, ratio
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaAttention

from selectlib.attention import SparsePlan, register_sparse_attention
from selectlib.kernels import topp_mask
from selectlib.seeding import generator

SEED = 100
ROWS = 64  # rows a launch: 16 draft layers, 4 tokens each
P = 0.95  # mass that is kept
SINK = 0.5  # weight of the first token in the rows with a sink
BITS = 12  # steps of the bisection that is nearly exact
QUERIES, KEPT = 5, 0.25  # of a verification step: gamma + 1 queries; share of the cache that they read
HEADS, KV_HEADS, SIZE = 32, 8, 128  # attention of an 8B model


@dataclass
class Setting:
    """What every case needs to know."""

    device: torch.device
    quick: bool
    peaks: dict[str, float]

    def race(self, contestants: list[Contestant], title: str) -> dict[str, dict]:
        return race(contestants, seed=SEED, device=self.device, title=title)

    def repeats(self, usual: int) -> int:
        return 2 if self.quick else usual

    def floor(self, bytes_moved: float, rows: dict[str, dict], name: str) -> dict:
        """Least seconds that moving these bytes takes, beside the median of one contestant."""
        seconds = bytes_moved / self.peaks["gbytes_per_second"] / 1e9
        times = float(np.median(rows[name]["seconds"])) / seconds
        return {
            "bytes": bytes_moved,
            "seconds": seconds,
            "remark": f"Floor: {1e3 * seconds:.2g} ms, {bytes_moved / 1e6:.3g} MB at the measured bandwidth; the "
            f"median of “{rows[name]['label']}” is {times:.3g} times that.",
        }


def attention_rows(length: int, sink: bool, seed: int, device: torch.device) -> Tensor:
    """Rows of attention weights with a log-normal tail; with a sink the first token has half of the mass."""
    weights = torch.randn(ROWS, length, generator=generator(seed)).mul_(2).exp_()
    weights /= weights.sum(1, keepdim=True)
    if sink:
        weights *= 1 - SINK
        weights[:, 0] += SINK
    return weights.to(device)


def by_sorting(weights: Tensor, p: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """What a user of torch would write: sort, add up, and cut."""
    values, order = weights.sort(-1, descending=True)
    values = values.to(dtype)
    before = values.cumsum(-1) - values
    return torch.zeros_like(weights, dtype=torch.bool).scatter_(-1, order, before < p * values.sum(-1, keepdim=True))


def by_flashinfer(weights: Tensor, p: float) -> Tensor:
    from flashinfer.sampling import top_p_renorm_probs

    return top_p_renorm_probs(weights, p) > 0


def mask_methods(device: torch.device) -> dict[str, tuple[str, Callable[[Tensor], Tensor], bool]]:
    """By name: label, mask of the rows, and whether it is somebody else's."""
    methods = {
        "sort": ("torch.sort, cumulative sum", lambda w: by_sorting(w, P), True),
        "radix": ("radix, exact (ours)", lambda w: topp_mask(w, P, method="radix"), False),
        "bits": (
            f"bits, {BITS} steps (ours)",
            lambda w: topp_mask(w, P, method="bits", iterations=BITS),
            False,
        ),
        "bits_exact": ("bits, exact (ours)", lambda w: topp_mask(w, P, method="bits"), False),
        "linear": ("bisection as published, 10 steps (ours)", lambda w: topp_mask(w, P, method="linear"), False),
    }
    if device.type == "cuda" and importlib.util.find_spec("flashinfer"):
        methods["flashinfer"] = ("FlashInfer, top_p_renorm_probs", lambda w: by_flashinfer(w, P), True)
    return methods


def masks(setting: Setting) -> dict:
    """Masks of the smallest set of tokens with 95 % of the attention."""
    parts = []
    for sink in (False, True):
        for length in (256, 2048) if setting.quick else (256, 512, 1024, 2048, 4096, 8192):
            rows = mask_race(setting, length, sink)
            floor = setting.floor(ROWS * length * 5, rows, "radix")  # four bytes read and one written an entry
            parts.append(
                {
                    "heading": f"{length:,} tokens, {'a sink' if sink else 'no sink'}",
                    "length": length,
                    "sink": sink,
                    "facts": {"kept": "kept [%]"},
                    "rows": rows,
                    "floor": floor,
                    "remarks": [floor["remark"]],
                }
            )
    return {
        "title": "Masks of the top-p tokens",
        "note": f"Seconds a call on {ROWS} rows of attention weights, float32, p = {P}, a log-normal tail; with a sink "
        "the first token has half of the mass. Kept: share of the tokens in the mask; sort, radix and exact bits keep "
        "the smallest set.",
        "parts": parts,
    }


def mask_race(setting: Setting, length: int, sink: bool) -> dict[str, dict]:
    calls = 3 if setting.quick else max(5, 16_384 // length)  # enough of them for the clock

    def contestant(name: str, label: str, method: Callable[[Tensor], Tensor], peer: bool) -> Contestant:
        def prepare(seed: int) -> Tensor:
            weights = attention_rows(length, sink, seed, setting.device)
            method(weights)  # the first call of a kernel compiles it, or asks for memory
            return weights

        def run(weights: Tensor) -> Tensor:
            for _ in range(calls):
                mask = method(weights)
            return mask

        def facts(mask: Tensor) -> dict[str, float]:
            return {"kept": 100 * float(mask.float().mean())}

        return Contestant(name, label, prepare, run, setting.repeats(7), facts, per=calls, peer=peer)

    contestants = [contestant(name, *method) for name, method in mask_methods(setting.device).items()]
    return setting.race(contestants, f"masks, {length:,} tokens{', sink' if sink else ''}")


@dataclass
class Step:
    """Attention of one verification step in one layer: queries, keys and values with those in flight, what is kept."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor
    plan: SparsePlan

    @classmethod
    def make(cls, length: int, seed: int, device: torch.device) -> "Step":
        draw = generator(seed)
        query = torch.randn(1, HEADS, QUERIES, SIZE, generator=draw)
        key, value = (torch.randn(1, KV_HEADS, length + QUERIES, SIZE, generator=draw) for _ in range(2))
        kept = torch.rand(length, generator=draw).argsort() < round(KEPT * length)
        kept = kept.expand(1, QUERIES, length).to(device)
        mask = torch.ones(1, 1, QUERIES, length + QUERIES, dtype=torch.bool).tril(length)
        return cls(*(part.to(device) for part in (query, key, value, mask)), SparsePlan([kept]))


def attention_layer(device: torch.device) -> LlamaAttention:
    """A layer for the attention functions to read its shape from."""
    config = LlamaConfig(
        hidden_size=HEADS * SIZE, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, num_hidden_layers=1
    )
    return LlamaAttention(config, layer_idx=0).to(device).eval()


def folded_attention(step: Step) -> Tensor:
    """Dense attention at its fastest here: the heads that share keys and values become further queries of these."""
    shared = HEADS // KV_HEADS
    query = step.query.view(1, KV_HEADS, shared * QUERIES, SIZE)
    return scaled_dot_product_attention(query, step.key, step.value, step.mask.repeat(1, 1, shared, 1))


def attention_ways(device: torch.device) -> dict[str, tuple[str, Callable[[Step], Tensor], bool]]:
    """By name: label, attention of a step, and whether it is somebody else's."""
    layer = attention_layer(device)
    for backend in ("gather", "sdpa_mask"):
        register_sparse_attention(f"benchmark_{backend}", backend=backend)

    def attend(name: str, step: Step, **plan: SparsePlan) -> Tensor:
        function = AttentionInterface()[name]
        return function(layer, step.query, step.key, step.value, step.mask, scaling=SIZE**-0.5, dropout=0.0, **plan)[0]

    return {
        "dense": ("dense, transformers' sdpa", lambda step: attend("sdpa", step), True),
        "folded": ("dense, torch SDPA, keys not repeated", folded_attention, True),
        "gather": (
            "kept tokens, gathered (ours)",
            lambda step: attend("benchmark_gather", step, sparse_plan=step.plan),
            False,
        ),
        "masked": (
            "kept tokens, masked SDPA (ours)",
            lambda step: attend("benchmark_sdpa_mask", step, sparse_plan=step.plan),
            False,
        ),
    }


def attention(setting: Setting) -> dict:
    """Attention of five queries over a quarter of the cache."""
    ways = attention_ways(setting.device)
    parts = []
    for length in (512, 2048) if setting.quick else (512, 2048, 8192, 32_768):
        calls = 2 if setting.quick else max(2, 8192 // length)

        def contestant(name, label, way, peer, length=length, calls=calls) -> Contestant:
            def prepare(seed: int) -> Step:
                step = Step.make(length, seed, setting.device)
                way(step)
                return step

            def run(step: Step) -> None:
                for _ in range(calls):
                    way(step)

            return Contestant(name, label, prepare, run, setting.repeats(7), per=calls, peer=peer)

        rows = setting.race([contestant(name, *way) for name, way in ways.items()], f"attention, {length:,} tokens")
        rows["masked"]["over"] = {"gather": ratio(rows["masked"]["seconds"], rows["gather"]["seconds"])}
        kept = round(KEPT * length) + QUERIES
        floor = setting.floor(2 * 4 * KV_HEADS * SIZE * kept, rows, "gather")
        parts.append(
            {
                "heading": f"{length:,} tokens",
                "length": length,
                "rows": rows,
                "floor": floor,
                "remarks": [floor["remark"]],
            }
        )
    return {
        "title": "Attention over kept tokens",
        "note": f"Seconds a layer, whole call of the attention function: {QUERIES} queries, {HEADS} heads, {KV_HEADS} "
        f"of keys and values, {SIZE} numbers each, float32, {100 * KEPT:.0f} % of the cache kept, drawn at random. The "
        "floor reads the kept keys and values once. transformers' function repeats them for each head.",
        "parts": parts,
    }
