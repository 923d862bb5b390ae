"""The races of the Feature Gradients benchmark: arithmetic, sparse rows, whole searches, and linear peers."""

import importlib.util

import numpy as np
from _feature_gradients_checks import search
from _feature_gradients_rows import SparseStep, Step, dense, sparse
from _feature_gradients_scan import columns_first, scan_of_columns
from _harness import Contestant
from _setting import Setting, part
from sklearn.linear_model import lars_path
from torch import Tensor

from selectlib.data import make_ar1
from selectlib.features import FeatureGradientSelector, value_and_grad
from selectlib.seeding import generator

PEER = importlib.util.find_spec("abess") is not None
MISSING = "" if PEER else " abess is not installed here: its rows are left out."
SCAN = "scan, the authors' order"
ORDER = 4


def value(found: tuple[Tensor, Tensor]) -> dict[str, float]:
    return {"value": float(found[0])}


def arithmetic(setting: Setting) -> dict:
    """One value with its gradient, all rows at once."""
    shapes = [(200, 50)] if setting.quick else [(1_000, 1_000), (1_000, 10_000), (4_000, 2_000), (16_000, 1_000)]
    parts = []
    for n, d in shapes:

        def prepare(seed: int, n=n, d=d) -> Step:
            small = dense(200, 20, seed, device=setting.device)  # the first calls load libraries
            for backend in ("chunk", "gram", "scan"):
                value_and_grad(*small, backend=backend)
            scan_of_columns(columns_first(small))
            return dense(n, d, seed, device=setting.device)

        backends = ["chunk", *["gram"] * (n <= 4_000)]
        contestants = [
            Contestant(name, f"{name} (ours)", prepare, lambda step, b=name: value_and_grad(*step, backend=b), r, value)
            for name in backends
            for r in (setting.repeats(9),)
        ]
        peers = {
            "scan": (SCAN, prepare, lambda step: value_and_grad(*step, backend="scan")),
            "columns": ("scan, stored by columns", lambda seed, of=prepare: columns_first(of(seed)), scan_of_columns),
        }
        for name, (label, make, run) in peers.items():
            contestants.append(Contestant(name, label, make, run, setting.repeats(9), value, peer=True))
        heading = f"n = {n:,}, D = {d:,}"
        rows = setting.race(contestants, heading)
        floor = setting.floor(8 * n * d, 8 * n * d * ORDER, rows["chunk"])
        parts.append(part(heading, rows, floor, n=n, d=d, dtype="float32", facts={"value": "value"}))
    return {
        "title": "One value and its gradient",
        "note": f"Seconds a call, order {ORDER}, float32, rows standardised before. The scan is the arithmetic that "
        "the authors' selector and its port NNI share: reversed cumulative sums, one an order, and autograd behind "
        "them. It is re-implemented here, as NNI itself fails on a current stack; both sides start from the same "
        "tensors. Stored by columns (ours too, and not counted) its sums walk along the memory, which on a CPU is "
        "much of the difference. Gram writes out all pairs of rows, and is left out where those are too many. The "
        "floor: the rows read twice, and two products with them an order in each of the two sweeps, at the rates "
        "measured on this machine.",
        "parts": parts,
    }


def sparse_rows(setting: Setting) -> dict:
    """A batch of text: sparse arithmetic beside the same batch written out, as the authors do."""
    shapes = [(100, 500, 10)] if setting.quick else [(1_000, 5_000, 75), (1_000, 47_000, 75)]
    parts = []
    for n, d, per_row in shapes:

        def prepare(seed: int, n=n, d=d, per_row=per_row) -> SparseStep:
            small = sparse(50, 100, 5, seed)
            implicit(small)
            for backend in ("chunk", "scan"):
                written_out(small, backend)
            return sparse(n, d, per_row, seed)

        repeats = setting.repeats(3 if d > 10_000 else 5)
        contestants = [
            Contestant("sparse", "sparse (ours)", prepare, implicit, repeats, value),
            Contestant(
                "chunk", "chunk, written out (ours)", prepare, lambda s: written_out(s, "chunk"), repeats, value
            ),
            Contestant(
                "scan", f"{SCAN}, written out", prepare, lambda s: written_out(s, "scan"), repeats, value, peer=True
            ),
        ]
        heading = f"n = {n:,}, D = {d:,}, {per_row} nonzeros a row"
        rows = setting.race(contestants, heading)
        parts.append(part(heading, rows, n=n, d=d, facts={"value": "value"}))
    return {
        "title": "Sparse rows",
        "note": f"Seconds a call, order {ORDER}, float32, on the CPU. Sparse rows are centred and scaled "
        "implicitly, and never written out. The others get the standardised rows as a dense tensor, which is not "
        "counted.",
        "parts": parts,
    }


def implicit(step: SparseStep) -> tuple[Tensor, Tensor]:
    s, X, y, coeffs, mean, scale, _ = step
    return value_and_grad(s, X, y, coeffs, mean=mean, scale=scale, backend="sparse")


def written_out(step: SparseStep, backend: str) -> tuple[Tensor, Tensor]:
    return value_and_grad(step.s, step.rows, step.y, step.coeffs, backend=backend)


def whole(setting: Setting) -> dict:
    """A search of one epoch, statistics and checks of the input included."""
    shapes = [(400, 30)] if setting.quick else [(4_000, 1_000), (4_000, 4_000), (16_000, 1_000)]
    parts = []
    for n, d in shapes:

        def prepare(seed: int, n=n, d=d) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            for backend in ("auto", "scan"):
                search(backend, setting.device).fit(*design(100, 20, seed)[:2])
            return design(n, d, seed)

        def run(state: tuple, backend: str) -> tuple[FeatureGradientSelector, np.ndarray]:
            X, y, support = state
            return search(backend, setting.device, n_features_to_select=10).fit(X, y), support

        def facts(found: tuple) -> dict[str, float]:
            selector, support = found
            return {"recall": recall(selector.get_support(indices=True), support), "steps": selector.n_iter_}

        repeats = setting.repeats(5 if d <= 1_000 else 3)
        contestants = [
            Contestant("search", "search (ours)", prepare, lambda s: run(s, "auto"), repeats, facts),
            Contestant("scan", SCAN, prepare, lambda s: run(s, "scan"), repeats, facts, peer=True),
        ]
        heading = f"N = {n:,}, D = {d:,}"
        rows = setting.race(contestants, f"search, {heading}")
        parts.append(part(heading, rows, n=n, d=d, facts={"recall": "recall at 10", "steps": "steps"}))
    return {
        "title": "One epoch of the search",
        "note": f"Seconds of `fit`, batches of 1,000, order {ORDER}, penalty 1, float32; statistics, checks of the "
        "input and the ranking included. Only the arithmetic of the steps differs.",
        "parts": parts,
    }


def design(n: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ten planted features in a design of correlation 0.7."""
    X, y, support = make_ar1(n, d, generator=generator(seed))
    return X.float().numpy(), y.float().numpy(), support.numpy()


def recall(chosen: np.ndarray, support: np.ndarray) -> float:
    return len(set(chosen.tolist()) & set(support.tolist())) / len(support)


def linear_peers(setting: Setting) -> dict:
    """What fits in memory and is linear: best subsets and the Lasso path, beside the search with its defaults."""
    shapes = [(200, 30)] if setting.quick else [(4_000, 200), (300, 1_000)]
    parts = []
    for n, d in shapes:

        def prepare(seed: int, n=n, d=d) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            for peer in (lasso, *[best_subset] * PEER):
                peer(design(100, 20, seed))
            return design(n, d, seed)

        def ours(state: tuple, order: int) -> tuple[np.ndarray, np.ndarray]:
            X, y, support = state
            selector = FeatureGradientSelector(10, order=order, device=str(setting.device), random_state=0)
            return selector.fit(X, y).get_support(indices=True), support

        def facts(found: tuple) -> dict[str, float]:
            return {"recall": recall(*found)}

        repeats = setting.repeats(5)
        contestants = [
            Contestant(f"order_{k}", f"order {k} (ours)", prepare, lambda s, k=k: ours(s, k), repeats, facts)
            for k in (4, 8)
        ]
        contestants.append(Contestant("lasso", "Lasso path (scikit-learn)", prepare, lasso, repeats, facts, peer=True))
        if PEER:
            contestants.append(Contestant("abess", "abess", prepare, best_subset, repeats, facts, peer=True))
        heading = f"N = {n:,}, D = {d:,}"
        rows = setting.race(contestants, f"linear peers, {heading}")
        parts.append(part(heading, rows, n=n, d=d, facts={"recall": "recall at 10"}))
    return {
        "title": "Linear peers",
        "note": "Seconds to ten features of a linear target, and the share of the ten planted ones among them; "
        "neighbours correlate by 0.7. Ours with its defaults; the Lasso by LARS until ten features are active; "
        f"abess is told the size of the subset. The peers work on the CPU.{MISSING}",
        "parts": parts,
    }


def lasso(state: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The features that are active when the path first holds as many as are planted."""
    X, y, support = state
    X, y = X - X.mean(0), y - y.mean()
    _, _, path = lars_path(X, y, method="lasso", max_iter=4 * len(support))
    sizes = (path != 0).sum(0)
    at = int(np.argmax(sizes >= len(support))) if (sizes >= len(support)).any() else -1
    return np.flatnonzero(path[:, at]), support


def best_subset(state: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    from abess import LinearRegression

    X, y, support = state
    model = LinearRegression(support_size=len(support)).fit(X, y)
    return np.flatnonzero(model.coef_), support
