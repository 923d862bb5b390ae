"""The races of the k-DPP benchmark: the first set, further sets, a large set, and dense kernels."""

from dataclasses import dataclass

import _dppy
import numpy as np
import torch
from _harness import Contestant, race

from selectlib.data import infinite_digits
from selectlib.seeding import generator
from selectlib.subsets import KDPP, RBF, CountingSource

SEED = 100
LABELS = {"direct": "direct (ours)", "alpha": "alpha (ours)", "spectral": "spectral (ours)"}
WIDE, NARROW = 192.0, 6.15  # sigma² of exp(-|x - y|²/sigma²): three times the dimension; the mean squared distance

SIZES = (10_000, 30_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Setting:
    """What every case needs to know."""

    device: torch.device
    quick: bool
    peaks: dict[str, float]

    def pool(self, n: int) -> torch.Tensor:
        """The first n deformed digits in memory, float64: made before any clock starts, the same for all."""
        return infinite_digits(n, dtype=torch.float64).fetch(torch.arange(n)).to(self.device)

    def repeats(self, usual: int) -> int:
        return 2 if self.quick else usual

    def race(self, contestants: list[Contestant], title: str) -> dict[str, dict]:
        return race(contestants, seed=SEED, device=self.device, title=title)


def ours(X: torch.Tensor, sigma2: float, k: int, method: str, seed: int) -> tuple[KDPP, CountingSource]:
    source = CountingSource(X)
    return KDPP(source, RBF(1 / sigma2), k, method=method, generator=generator(seed, X.device)), source


def theirs(X: np.ndarray, kernel: _dppy.RBFKernel, k: int, name: str, seed: int) -> _dppy.Sampler:
    mode, settings, _ = _dppy.FEW_LOOKS[name]
    return _dppy.Sampler(X, kernel, k, seed, mode, **settings(k))


def our_first(X: torch.Tensor, sigma2: float, k: int, method: str, repeats: int, limit: float | None = None):
    def run(seed: int):
        sampler, source = ours(X, sigma2, k, method, seed)
        sampler.fit().sample()
        return sampler, source

    def facts(result) -> dict[str, float]:
        return {"looks": result[1].n_looked, "landmarks": result[0].report().landmarks}

    return Contestant(method, LABELS[method], lambda seed: seed, run, repeats, facts, limit=limit)


def their_first(X: np.ndarray, sigma2: float, k: int, name: str, repeats: int, limit: float | None = None):
    def run(seed: int):
        return theirs(X, _dppy.RBFKernel(1 / sigma2), k, name, seed).sample()

    label = _dppy.FEW_LOOKS[name][2]
    return Contestant(name, label, lambda seed: seed, run, repeats, limit=limit, peer=True)


def their_looks(X: np.ndarray, sigma2: float, k: int, name: str, runs: int) -> list[int]:
    """Looks of the first `runs` repeats, in runs of their own: counting takes time."""
    if name in _dppy.VFX:
        return [len(X)]  # it estimates the leverage score of every item
    looks = []
    for seed in range(SEED, SEED + runs):
        kernel = _dppy.RBFKernel(1 / sigma2, counted=True)
        try:
            theirs(np.concatenate([X, np.arange(len(X))[:, None]], axis=1), kernel, k, name, seed).sample()
        except ValueError:
            continue  # counted where it was timed: the same seed raised there
        looks.append(len(kernel.looked))
    return looks


def first(setting: Setting) -> dict:
    k, parts = 10, []
    for n in (2_000,) if setting.quick else SIZES:
        X = setting.pool(n)
        array = X.cpu().numpy()
        names = _dppy.ALPHA + (_dppy.VFX if n <= 100_000 else [])  # vfx needs n x hundreds of numbers, and minutes
        repeats = setting.repeats(15 if n <= 100_000 else 5)
        contestants = [our_first(X, WIDE, k, method, repeats) for method in ("direct", "alpha")]
        contestants += [
            their_first(array, WIDE, k, name, min(repeats, 5) if name in _dppy.VFX else repeats) for name in names
        ]
        rows = setting.race(contestants, f"first set, n = {n:,}")
        for name in names:
            rows[name]["looks"] = their_looks(array, WIDE, k, name, min(repeats, 3))
        floor = physical_floor(rows["direct"], X.shape[1], setting.peaks)
        parts.append(
            {
                "heading": f"n = {n:,}",
                "n": n,
                "k": k,
                "sigma2": WIDE,
                "facts": {"looks": "items looked at"},
                "rows": rows,
                "floor": floor,
                "remarks": [
                    f"Floor of `direct` here: {floor['seconds']:.2g} s ({floor['bytes'] / 1e6:.3g} MB to read, "
                    f"{floor['flops'] / 1e9:.3g} GFLOP); its median is {floor['distance']:.3g} times that."
                ],
            }
        )
    return {
        "title": "The first set",
        "note": "Seconds from the items in memory to the first set of k = 10, preparation included; digits, "
        "sigma² = 192, float64. The floor: each item looked at is read once and scored once against the final "
        "landmarks, at the bandwidth and the float64 rate measured on this machine.",
        "parts": parts,
    }


def physical_floor(row: dict, d: int, peak: dict[str, float]) -> dict[str, float]:
    """Least time for the work that cannot be left out, and how far above it the measured median is."""
    looks, m = np.median(row["looks"]), np.median(row["landmarks"])
    nbytes, flops = looks * d * 8, 2 * looks * m * (d + m)
    seconds = max(nbytes / peak["gbytes_per_second"], flops / peak["gflops_float64"]) / 1e9
    distance = float(np.median(row["seconds"]) / seconds)
    return {"bytes": nbytes, "flops": flops, "seconds": seconds, "distance": distance}


def further(setting: Setting) -> dict:
    n, k = (2_000, 10) if setting.quick else (100_000, 10)
    batch, single = (3, 2) if setting.quick else (100, 20)
    X = setting.pool(n)
    array = X.cpu().numpy()

    def our_next(method: str) -> Contestant:
        def prepare(seed: int) -> KDPP:
            sampler, _ = ours(X, WIDE, k, method, seed)
            sampler.fit().sample()
            return sampler

        label = f"{LABELS[method]}, {batch} in one call"
        return Contestant(method, label, prepare, lambda sampler: sampler.sample(batch), setting.repeats(5), per=batch)

    def their_next(name: str) -> Contestant:
        def prepare(seed: int) -> _dppy.Sampler:
            sampler = theirs(array, _dppy.RBFKernel(1 / WIDE), k, name, seed)
            sampler.sample()
            return sampler

        number = batch if name in _dppy.VFX else single
        label = f"{_dppy.FEW_LOOKS[name][2]}, {number} calls"
        repeats = setting.repeats(5)
        return Contestant(name, label, prepare, lambda s: s.sample(number), repeats, per=number, peer=True)

    names = _dppy.ALPHA + _dppy.VFX
    rows = setting.race([*map(our_next, ("direct", "alpha")), *map(their_next, names)], "further sets")
    part = {
        "heading": f"n = {n:,}",
        "n": n,
        "k": k,
        "sigma2": WIDE,
        "rows": rows,
    }
    return {
        "title": "Further sets",
        "note": "Seconds per further set, after the first, from the same sampler; digits, k = 10, sigma² = 192. "
        "vfx has looked at all items by then.",
        "parts": [part],
    }


def large(setting: Setting) -> dict:
    n, k, limit = (2_000, 12, 5.0) if setting.quick else (100_000, 50, 75.0)
    X = setting.pool(n)
    contestants = [our_first(X, NARROW, k, "direct", setting.repeats(3), limit=600.0)]
    names = ["dppy_alpha", "dppy_alpha_early_k"]
    contestants += [their_first(X.cpu().numpy(), NARROW, k, name, 1, limit) for name in names]
    rows = setting.race(contestants, f"k = {k}")
    part = {
        "heading": f"n = {n:,}, k = {k}",
        "n": n,
        "k": k,
        "sigma2": NARROW,
        "facts": {"looks": "items looked at"},
        "rows": rows,
    }
    return {
        "title": "A large set",
        "note": f"Seconds to the first set, digits, sigma² = 6.15. The peer is stopped after {limit:g} s.",
        "parts": [part],
    }


def dense(setting: Setting) -> dict:
    k, parts = 10, []
    for n in (200,) if setting.quick else (1_500, 2_000):
        X = setting.pool(n)
        array = X.cpu().numpy()

        def run(seed: int, X: np.ndarray = array):
            return _dppy.Sampler(X, _dppy.RBFKernel(1 / WIDE), k, seed, "GS").sample()

        repeats = setting.repeats(5)
        mine = our_first(X, WIDE, k, "spectral", repeats)
        peer = Contestant("dppy_spectral", "DPPy GS", lambda seed: seed, run, repeats, peer=True)
        rows = setting.race([mine, peer], f"dense, n = {n:,}")
        at_1e5 = {name: float(np.median(row["seconds"]) * (100_000 / n) ** 3) for name, row in rows.items()}
        said = ", ".join(f"{rows[name]['label']} {seconds:.2g} s" for name, seconds in at_1e5.items())
        parts.append(
            {
                "heading": f"n = {n:,}, first set",
                "n": n,
                "k": k,
                "sigma2": WIDE,
                "rows": rows,
                "extrapolated_to_1e5": at_1e5,
                "remarks": [f"Extrapolated with n³ to n = 100,000, not measured (it would need 80 GB): {said}."],
            }
        )
    parts.append(dense_further(X, k, 3 if setting.quick else 100, setting))
    return {
        "title": "Exact sampling by eigendecomposition",
        "note": "Digits, k = 10, sigma² = 192. The first set includes the eigendecomposition, further sets do not.",
        "parts": parts,
    }


def dense_further(X: torch.Tensor, k: int, batch: int, setting: Setting) -> dict:
    """Sets after the eigendecomposition, which both sides have behind them."""
    sampler, _ = ours(X, WIDE, k, "spectral", SEED)
    sampler.fit().sample()
    eigvals, eigvecs = np.linalg.eigh(RBF(1 / WIDE)(X, X).cpu().numpy())
    label, repeats = f"{LABELS['spectral']}, one call", setting.repeats(15)

    def run(state):
        return state.sample(batch)

    contestants = [Contestant("spectral", label, lambda seed: sampler, run, repeats)]
    for mode in ("GS", "GS_bis"):
        peer = _dppy.Sampler.of_eigenpairs(np.maximum(eigvals, 0), eigvecs, k, SEED, mode)
        peer.sample()  # its symmetric polynomials, kept from then on
        label = f"DPPy {mode}, {batch} calls"
        contestants.append(Contestant(f"dppy_{mode}", label, lambda seed, peer=peer: peer, run, repeats, peer=True))
    rows = setting.race(contestants, "dense, further sets")
    return {
        "heading": f"n = {len(X):,}, {batch} further sets",
        "n": len(X),
        "k": k,
        "sigma2": WIDE,
        "sets": batch,
        "rows": rows,
    }
