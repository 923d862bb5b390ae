"""The races of the Lion benchmark: a step on many tensors, low precision, captured steps, programs a second."""

import functools
import importlib.util
from collections.abc import Callable

import torch
from _harness import Contestant, interval_of_medians
from _setting import Setting, part
from torch.optim import AdamW, Optimizer

from selectlib.nets import GPT
from selectlib.optim import Lion
from selectlib.programs import ADAMW, DISCOVERED, LION, Program, two_task_proxy

PACKAGES = [name for name in ("lion-pytorch", "pytorch-optimizer") if importlib.util.find_spec(name.replace("-", "_"))]
MISSING = "" if len(PACKAGES) == 2 else " A peer that is not installed here is left out."
SETTINGS = {"lr": 1e-4, "weight_decay": 0.1}
STEPS = 5  # of a run

Make = Callable[[list[torch.Tensor]], Optimizer]


def parameters(device: torch.device, quick: bool, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """The weights of a language model, with gradients: 23 million numbers, on CUDA 337 million."""
    sizes = {"vocab_size": 8_192, "context": 256, "width": 448, "heads": 7, "layers": 8}
    if device.type == "cuda":
        sizes = {"vocab_size": 32_768, "context": 1024, "width": 1024, "heads": 16, "layers": 24}
    if quick:
        sizes |= {"vocab_size": 512, "width": 64, "heads": 1, "layers": 2}
    torch.manual_seed(100)
    with device:
        params = [p.to(dtype).detach().requires_grad_() for p in GPT(**sizes).parameters()]
    for p in params:
        p.grad = torch.randn_like(p)
    return params


def count(params: list[torch.Tensor]) -> int:
    return sum(p.numel() for p in params)


def other_lions(device: torch.device) -> dict[str, tuple[str, Make]]:
    """Every path of the other implementations that runs here: its label, and how it is made."""
    lions: dict[str, tuple[str, Make]] = {}
    if "lion-pytorch" in PACKAGES:
        from lion_pytorch import Lion as Loop
        from lion_pytorch.foreach import Lion as Foreach

        lions["lion_pytorch"] = "lion-pytorch", lambda params: Loop(params, **SETTINGS)
        lions["lion_pytorch_foreach"] = "lion-pytorch, foreach", lambda params: Foreach(params, **SETTINGS)
        if device.type == "cuda":
            fused = functools.partial(Loop, use_triton=True, **SETTINGS)
            lions["lion_pytorch_triton"] = "lion-pytorch, Triton", fused
    if "pytorch-optimizer" in PACKAGES:
        from pytorch_optimizer import Lion as Theirs

        for foreach in (True, False):
            name, word = ("pytorch_optimizer_foreach", "foreach") if foreach else ("pytorch_optimizer", "loop")
            lions[name] = f"pytorch-optimizer, {word}", functools.partial(Theirs, foreach=foreach, **SETTINGS)
    return lions


def contestant(name: str, label: str, optimizer: Optimizer, repeats: int, peer: bool = False) -> Contestant:
    """Some steps of an optimizer, after one that is not timed: nobody finds the gradients in a cache."""

    def prepare(seed: int) -> Optimizer:
        optimizer.step()
        return optimizer

    def run(optimizer: Optimizer) -> Optimizer:
        for _ in range(STEPS):
            optimizer.step()
        return optimizer

    return Contestant(name, label, prepare, run, repeats, state_megabytes, per=STEPS, peer=peer)


def state_megabytes(optimizer: Optimizer) -> dict[str, float]:
    kept = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    return {"state": sum(value.nbytes for value in kept) / 1e6}


def step(setting: Setting) -> dict:
    """A step in float32, on one thread and on as many as told."""
    return {
        "title": "One step on the weights of a language model",
        "note": f"Seconds a step, mean of {STEPS}, float32, learning rate 1e-4, weight decay 0.1. All change the same "
        "weights, in turn, from the same gradients. AdamW keeps twice the state, and a step of it moves 28 bytes a "
        "weight where Lion moves 20. The floor: these 20 bytes at the best rate that memory reached, measured on this "
        f"machine.{MISSING}",
        "parts": [step_on(setting, threads) for threads in sorted({1, setting.threads})],
    }


def step_on(setting: Setting, threads: int) -> dict:
    params = parameters(setting.device, setting.quick)
    repeats = setting.repeats(11)
    rivals = other_lions(setting.device) | {
        "adamw": ("torch AdamW, fused", lambda params: AdamW(params, fused=True, **SETTINGS))
    }
    contestants = [
        contestant("fused", "Lion, fused (ours)", Lion(params, fused=True, **SETTINGS), repeats),
        contestant("foreach", "Lion, foreach (ours)", Lion(params, foreach=True, fused=False, **SETTINGS), repeats),
        *(contestant(name, label, make(params), repeats, peer=True) for name, (label, make) in rivals.items()),
    ]
    n, before = count(params), torch.get_num_threads()
    heading = f"{n:,} weights in {len(params)} tensors" + f", {threads} threads" * (threads > 1)
    torch.set_num_threads(threads)
    rows = setting.race(contestants, heading)
    torch.set_num_threads(before)
    floor = setting.floor(20 * n, 10 * n, rows["fused"])
    return part(heading, rows, floor, n=n, threads=threads, facts={"state": "state [MB]"})


def precision(setting: Setting) -> dict:
    """What is stored in bfloat16, and how it is rounded."""
    kinds = {
        "float32": ("all in float32", torch.float32, {}),
        "momentum": ("momentum in bfloat16", torch.float32, {"momentum_dtype": torch.bfloat16}),
        "all": ("all in bfloat16", torch.bfloat16, {}),
    }
    if setting.device.type == "cuda":
        kinds["random"] = "all in bfloat16, rounded at random", torch.bfloat16, {"rounding": "stochastic"}
    made = {dtype: parameters(setting.device, setting.quick, dtype) for dtype in (torch.float32, torch.bfloat16)}
    repeats = setting.repeats(7)
    contestants = [
        contestant(name, label, Lion(made[dtype], fused=True, **options, **SETTINGS), repeats)
        for name, (label, dtype, options) in kinds.items()
    ]
    heading = f"{count(made[torch.float32]):,} weights, fused (ours)"
    return {
        "title": "Low precision",
        "note": "Seconds a step. A step moves 20 bytes a weight in float32, 16 with the momentum in bfloat16, 10 with "
        "all in bfloat16; the arithmetic is float32 in each.",
        "parts": [part(heading, setting.race(contestants, "precision"), facts={"state": "state [MB]"})],
    }


def capture(setting: Setting) -> dict:
    """Steps in a captured graph; of CUDA only."""
    params, repeats = parameters(setting.device, setting.quick), setting.repeats(7)
    ours, adamw = (make(params, fused=True, capturable=True, **SETTINGS) for make in (Lion, AdamW))

    def replayed(name: str, label: str, optimizer: Optimizer, peer: bool) -> Contestant:
        graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        with torch.cuda.stream(side):
            optimizer.step()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            optimizer.step()

        def run(graph: torch.cuda.CUDAGraph) -> None:
            for _ in range(STEPS):
                graph.replay()

        return Contestant(name, label, lambda seed: graph, run, repeats, per=STEPS, peer=peer)

    contestants = [
        replayed("captured", "Lion, captured (ours)", ours, peer=False),
        contestant("fused", "Lion, fused (ours)", Lion(params, fused=True, **SETTINGS), repeats),
        replayed("adamw", "torch AdamW, captured", adamw, peer=True),
    ]
    heading = f"{count(params):,} weights in {len(params)} tensors"
    return {
        "title": "A captured step",
        "note": "Seconds a step, replayed from a CUDA graph or launched anew.",
        "parts": [part(heading, setting.race(contestants, "capture"))],
    }


def programs(setting: Setting) -> dict:
    """Programs that are scored in a second on the proxy of two small networks."""
    task, at_once = two_task_proxy(), 2 if setting.quick else 20
    made: dict[str, Program] = {"adamw": ADAMW, "lion": LION, "discovered": DISCOVERED}

    def prepared(program: Program) -> Callable[[int], tuple[Program, range]]:
        return lambda seed: (program, range(seed, seed + at_once))

    def run(state: tuple[Program, range]) -> int:
        program, seeds = state
        for seed in seeds:
            task.evaluate(program, [seed])
        return len(seeds)

    contestants = [
        Contestant(name, f"{name} (ours)", prepared(program), run, setting.repeats(7), per=at_once)
        for name, program in made.items()
    ]
    rows = setting.race(contestants, "programs")
    rate = {name: interval_of_medians(lambda seconds: 1 / seconds, row["seconds"]) for name, row in rows.items()}
    said = ", ".join(f"{value['value']:.0f} for {name}" for name, value in rate.items())
    return {
        "title": "Programs on the two-task proxy",
        "note": "Seconds an evaluation with one seed. AdamW trains and validates both networks; Lion and the "
        "discovered program, with the constants they come with, miss the cutoff on the first and are not tried on the "
        "second.",
        "parts": [part("evaluation", rows, rate=rate, remarks=[f"Evaluations a second: {said}."])],
    }
