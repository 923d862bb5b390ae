"""The races of the DsDm benchmark: from features to scores, forward mode against projections, and counting n-grams."""

from dataclasses import dataclass, field

import _dsdm_study as study
import torch
from _dsdm_traker import Traker
from _harness import Contestant, race, ratio
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from selectlib.corpora import CausalLMMargin, CorrectClassMargin, DatamodelEstimator, JLProjector, compare_lds
from selectlib.corpora._kernel import damped, gram
from selectlib.nets import GPT
from selectlib.seeding import generator

SEED = 100
K = 512  # length of the projections, of both sides
DAMPINGS = (0.01, 0.1, 1.0)
EXPLICIT = {"sjlt": "explicit, sparse projection (ours)", "rademacher": "explicit, dense projection (ours)"}


@dataclass
class Setting:
    """What every case needs to know, and the study's data, made once."""

    device: torch.device
    quick: bool
    peaks: dict[str, float]
    pool: study.Examples = field(init=False)
    targets: study.Examples = field(init=False)

    def __post_init__(self) -> None:
        rows = 200 if self.quick else None
        self.pool = tuple(part[:rows] for part in study.pool())
        self.targets = study.targets()

    def race(self, contestants: list[Contestant], title: str) -> dict[str, dict]:
        return race(contestants, seed=SEED, device=self.device, title=title)

    def repeats(self, usual: int) -> int:
        return 2 if self.quick else usual

    def floor(self, flops: float, gradient_bytes: float) -> dict[str, float]:
        """Least seconds an example: its operations at the peak rate, or its gradient's bytes at the peak bandwidth."""
        seconds = max(flops / self.peaks["gflops_float32"], gradient_bytes / self.peaks["gbytes_per_second"]) / 1e9
        return {"flops": flops, "bytes": gradient_bytes, "seconds": seconds}


class Ours:
    """Our estimate of one checkpoint after the other."""

    def __init__(self, setting: Setting, k: int = K):
        self.setting, self.k = setting, k
        self.estimators: list[DatamodelEstimator] = []

    def features_to_scores(self, model_id: int, checkpoint: dict[str, Tensor]) -> None:
        projector = JLProjector(self.k, kind="sjlt", seed=SEED + model_id)
        estimator = DatamodelEstimator(study.network(), CorrectClassMargin(), projector=projector)
        estimator.fit([checkpoint], self.setting.pool).score(self.setting.targets)
        self.estimators.append(estimator)

    def scores(self, damping: float) -> Tensor:
        """Scores by all checkpoints at another damping, from the features that are there."""
        found, weights = [], []
        for estimator in self.estimators:
            (model,) = estimator._models
            features, weight = model.features(self.setting.pool, keep=True)
            eps = torch.finfo(features.dtype).eps
            model.kernel = damped(gram(features), damping, rows=len(features), eps=eps)
            estimator.reweight = None
            found.append(estimator.score(self.setting.targets))
            weights.append(weight)
        return torch.stack(found).mean(0) * torch.stack(weights).mean(0).unsqueeze(1)


def estimate(setting: Setting) -> dict:
    """Features to scores, checkpoint by checkpoint; then what both estimates are worth."""
    count = 2 if setting.quick else 3
    networks = study.checkpoints(setting.pool, count)
    sides = {
        "sjlt": Ours(setting),
        "traker": Traker(study.network(), setting.pool, setting.targets, k=K, seed=SEED),
    }
    labels = {"sjlt": "sparse projection (ours)", "traker": "traker, float32, matrix in memory"}
    contestants = [
        Contestant(
            name,
            labels[name],
            prepare=lambda seed: seed - SEED,
            run=lambda index, side=side: side.features_to_scores(index, networks[index]),
            repeats=count,
            peer=name == "traker",
        )
        for name, side in sides.items()
    ]
    rows = setting.race(contestants, "features to scores")
    lds = None if setting.quick else worth(setting, sides, rows)
    parameters = sum(p.numel() for p in study.network().parameters())
    n = len(setting.pool[0])
    # Forward and backward are three forward passes; a gradient is written, read, and added to its projection.
    floor = setting.floor(3 * forward_flops(study.network(), setting.pool[0][:1]), 8.0 * parameters)
    median = float(torch.tensor(rows["sjlt"]["seconds"], dtype=torch.float64).median()) / n
    return {
        "title": "From features to scores",
        "note": f"Seconds a checkpoint: features of {n:,} MNIST and {len(setting.targets[0])} USPS images, the kernel, "
        f"and a score for each pair; convolutional network of {parameters:,} parameters, k = {K}, traker in batches of "
        "64, checkpoint r in repeat r. traker's defaults are slower here: half precision, and k = 2048 in blocks of "
        "100 columns that it draws anew for every batch. Its time grows with k; ours hardly does.",
        "parts": [
            {
                "heading": f"{n:,} images",
                "n": n,
                "k": K,
                "facts": {"lds": "LDS", "damping": "damping"},
                "rows": rows,
                "floor": floor,
                "remarks": [
                    *([lds["remark"]] if lds else []),
                    f"Floor of ours: {1e3 * floor['seconds']:.2g} ms an image ({floor['flops'] / 1e6:.3g} MFLOP, "
                    f"{floor['bytes'] / 1e6:.3g} MB of gradient written and read); its median is "
                    f"{median / floor['seconds']:.3g} times that.",
                ],
                "lds": lds,
            }
        ],
    }


def worth(setting: Setting, sides: dict, rows: dict[str, dict]) -> dict:
    """LDS of each side on the compared targets, at the damping that is best on the tuning targets."""
    truth = study.load_ground_truth(setting.pool, setting.targets).outputs
    masks, tuning = study.subsets(), slice(0, study.TUNING)
    chosen = {}
    for name, side in sides.items():
        tried = {damping: side.scores(damping) for damping in DAMPINGS}
        tuned = compare_lds(
            {str(damping): scores[:, tuning] for damping, scores in tried.items()},
            masks,
            truth[..., tuning],
            resamples=1,
            generator=generator(SEED),
        ).values
        damping = max(tried, key=lambda damping, tuned=tuned: tuned[str(damping)])
        chosen[name] = tried[damping][:, study.TUNING :]
        rows[name]["damping"] = [damping]
    compared = compare_lds(chosen, masks, truth[..., study.TUNING :], resamples=2000, generator=generator(SEED))
    for name in sides:
        rows[name]["lds"] = [compared.values[name]]
    difference = compared.interval("sjlt", "traker")
    return {
        **{end: getattr(difference, end) for end in ("value", "low", "high", "n")},
        "ceiling": compared.values["ceiling"],
        "remark": f"LDS against {study.SUBSETS} x {study.SEEDS} retrained networks on "
        f"{study.TARGETS - study.TUNING} targets, each side at the damping that was best on {study.TUNING} others; "
        f"ours minus traker's: {difference.value:.3f} ({difference.low:.3f} to {difference.high:.3f}); "
        f"ceiling {compared.values['ceiling']:.3f}.",
    }


def forward(setting: Setting) -> dict:
    """One number an example: by a forward-mode derivative, by a sparse and by a dense projection."""
    rows = 64 if setting.quick else 500
    cases = {"small GPT": gpt(setting), "convolutional network": conv(setting)}
    parts = []
    for heading, (network, output, pool, targets) in cases.items():
        state = {name: value.detach() for name, value in network.state_dict().items()}
        estimators = {}
        for kind in EXPLICIT:
            estimator = DatamodelEstimator(network, output, projector=JLProjector(K, kind=kind, seed=SEED))
            kernel_rows = min(2 * K, len(pool[0])) if kind == "sjlt" else 32  # what the kernel is worth costs no time
            estimators[kind] = estimator.fit([state], pool, kernel_rows=kernel_rows, generator=generator(SEED))
        table = setting.race(
            [
                scorer("jvp", "forward mode (ours)", estimators["sjlt"], "jvp", pool, targets, rows, setting, 4),
                scorer("sjlt", EXPLICIT["sjlt"], estimators["sjlt"], "project", pool, targets, rows, setting, 4 * K),
                scorer(
                    "dense",
                    EXPLICIT["rademacher"],
                    estimators["rademacher"],
                    "project",
                    pool,
                    targets,
                    rows // 8,
                    setting,
                    4 * K,
                ),
            ],
            f"one number an example, {heading}",
        )
        for name in ("sjlt", "dense"):
            table[name]["over"] = {"jvp": ratio(table[name]["seconds"], table["jvp"]["seconds"])}
        flops = forward_flops(network, pool[0][:1, :-1] if heading == "small GPT" else pool[0][:1])
        floor = setting.floor(2 * flops, 0)
        median = float(torch.tensor(table["jvp"]["seconds"], dtype=torch.float64).median())
        parts.append(
            {
                "heading": f"{heading}, {sum(p.numel() for p in network.parameters()):,} parameters",
                "name": heading,
                "n": len(pool[0]),
                "rows_a_repeat": rows,
                "k": K,
                "facts": {"bytes": "bytes an example"},
                "rows": table,
                "floor": floor,
                "remarks": [
                    f"Floor of forward mode: {1e3 * floor['seconds']:.2g} ms ({floor['flops'] / 1e6:.3g} MFLOP); its "
                    f"median is {median / floor['seconds']:.3g} times that."
                ],
            }
        )
    return {
        "title": "One number an example",
        "note": f"Seconds an example of `score_mean`, whole call, {rows:,} of 10,000 examples a repeat (dense "
        f"projection: {rows // 8}); 64 targets, k = {K}, kernels made before. Bytes: what is left of an example, its "
        "score, or its features where those are kept. The GPT reads sequences of 64 random tokens.",
        "parts": parts,
    }


def scorer(
    name: str,
    label: str,
    estimator: DatamodelEstimator,
    mode: str,
    pool: study.Examples,
    targets: study.Examples,
    rows: int,
    setting: Setting,
    bytes_each: int,
) -> Contestant:
    def prepare(seed: int) -> study.Examples:
        """The next rows of the pool: a repeat has its own."""
        start = (seed - SEED) * rows % max(len(pool[0]) - rows, 1)
        return tuple(part[start : start + rows].clone() for part in pool)

    def run(part: study.Examples) -> Tensor:
        return estimator.score_mean(part, targets, mode=mode).scores

    repeats = setting.repeats(3 if name == "dense" else 7)
    return Contestant(name, label, prepare, run, repeats, lambda _: {"bytes": bytes_each}, per=rows)


def gpt(setting: Setting) -> tuple[nn.Module, CausalLMMargin, study.Examples, study.Examples]:
    """A GPT of 1.06 million parameters on sequences of 64 random tokens: time does not depend on what they say."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        network = GPT(vocab_size=512, context=63, width=128, heads=4, layers=5)
    draw = generator(SEED)
    tokens = torch.randint(512, (10_000 if not setting.quick else 200, 64), generator=draw)
    return network, CausalLMMargin(), (tokens,), (torch.randint(512, (64, 64), generator=draw),)


def conv(setting: Setting) -> tuple[nn.Module, CorrectClassMargin, study.Examples, study.Examples]:
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        network = study.network()
    return network, CorrectClassMargin(), setting.pool, tuple(part[:64] for part in setting.targets)


def forward_flops(network: nn.Module, inputs: Tensor) -> float:
    """Operations of one forward pass of one example."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(inputs)
    return float(counter.get_total_flops()) / len(inputs)
