"""What must be right before the EADA benchmark times anything."""

import numpy as np
import torch
from _eada_laws import gradients, law_of_picks
from _eada_pools import CLASSES, Items, items
from _eada_races import PEER, PRECISIONS
from _setting import SEED, Setting
from torch import Tensor

from selectlib.queries import BADGE, EADA, CoreSet, Entropy, Margin, as_skactiveml
from selectlib.seeding import generator
from selectlib.stats import chi_square_fit


def correctness(setting: Setting) -> dict[str, dict]:
    """Equal picks where picks are determined, and the right law where they are drawn.

    Raises
    ------
    RuntimeError
        If something is wrong: then nothing is timed.
    """
    checks = {"lazy": lazy_and_plain(setting)}
    if setting.device.type == "cuda":
        checks["devices"] = devices(setting)
    if PEER:
        checks |= {"core_set_peer": core_set_and_peer(setting), "margin_peer": margin_and_peer(setting)}
        checks["adapter"] = adapter(setting)
    for check in checks.values():
        if check["error"] > check["allowed"]:
            raise RuntimeError(f"{check['label']}: {check['error']} of {check['n']} picks differ; nothing is timed")
    for method in ("rejection", "sequential"):
        checks[method] = badge_law(setting, method)
        if checks[method]["p"] < 1e-4:
            raise RuntimeError(f"BADGE, {method}: chi-square p = {checks[method]['p']:.2g}; nothing is timed")
    return checks


def counted(label: str, pairs: list[tuple]) -> dict:
    """How many picks differ, of all pairs of picks."""
    wrong = sum(int((np.asarray(a) != np.asarray(b)).sum()) for a, b in pairs)
    return {"label": label, "n": sum(len(a) for a, _ in pairs), "error": wrong, "allowed": 0}


def core_set_picks(made: Items, k: int, method: str = "lazy") -> Tensor:
    return CoreSet(method=method).select(made.pool(), k, generator=generator(SEED)).cpu()


def lazy_and_plain(setting: Setting) -> dict:
    pairs = []
    for dtype in PRECISIONS.values():
        for seed in range(SEED, SEED + 3):
            made = items(2_000 if setting.quick else 10_000, 64, seed, setting.device, dtype)
            pairs.append([core_set_picks(made, 100, method) for method in ("lazy", "plain")])
    return counted("CoreSet, lazy and plain", pairs)


def devices(setting: Setting) -> dict:
    """The GPU's picks, and the CPU's of the same items."""
    n, k = (2_000, 100) if setting.quick else (100_000, 300)
    made = items(n, 64, SEED, setting.device, torch.float64)  # roundings may swap near-ties in float32
    moved = Items(*(tensor.cpu() for tensor in vars(made).values()))
    pairs = [(core_set_picks(made, k), core_set_picks(moved, k))]
    for strategy in (EADA(), Margin()):
        pairs.append([strategy.select(m.pool(), k, generator=generator(SEED)).cpu() for m in (made, moved)])
    return counted("CoreSet, EADA and margin, GPU and CPU", pairs)


def core_set_and_peer(setting: Setting) -> dict:
    from _eada_peer import Given

    pairs = []
    for n, d, k in [(2_000, 16, 100)] if setting.quick else [(10_000, 64, 100), (20_000, 256, 20)]:
        for dtype in PRECISIONS.values():
            for seed in range(SEED, SEED + 3):
                made = items(n, d, seed, setting.device, dtype)
                pairs.append((core_set_picks(made, k), Given(made).core_set(k)))
    return counted("CoreSet, ours and the peer's", pairs)


def margin_and_peer(setting: Setting) -> dict:
    from _eada_peer import Given

    pairs = []
    for seed in range(SEED, SEED + 3):
        made = items(2_000 if setting.quick else 10_000, 64, seed, setting.device, torch.float64)
        ours = Margin().select(made.pool(), 100, generator=generator(SEED)).cpu()
        pairs.append((ours, Given(made).uncertain(100, "margin_sampling")))
    return counted("Margin, ours and the peer's", pairs)


def adapter(setting: Setting) -> dict:
    """Our strategies in the peer's loop: the picks of ours that are determined, and of BADGE those that repeat."""
    from skactiveml.classifier import SklearnClassifier
    from sklearn.linear_model import LogisticRegression

    made = items(500, 16, SEED, torch.device("cpu"), torch.float64)
    X, truth = made.features.numpy(), made.logits.argmax(1).numpy()
    pairs = []
    for strategy in (CoreSet(), Margin(), Entropy(), BADGE()):
        query = as_skactiveml(strategy, random_state=SEED)
        classifier = SklearnClassifier(LogisticRegression(), classes=np.arange(CLASSES), random_state=SEED)
        y = np.full(len(X), np.nan)
        y[:50] = truth[:50]
        for _ in range(5):
            picks = query.query(X, y, clf=classifier, batch_size=10)
            known = ~np.isnan(y)
            if isinstance(strategy, BADGE):
                fresh = np.setdiff1d(np.unique(picks), np.flatnonzero(known))
                pairs.append((np.arange(len(picks)) < len(fresh), np.ones(len(picks), dtype=bool)))
            else:
                p = classifier.fit(X, y).predict_proba(X[~known])
                tensors = [torch.from_numpy(a) for a in (X[~known], np.log(p), X[known])]
                direct = strategy.select(Items(*tensors).pool(), 10, generator=generator(SEED))
                pairs.append((picks, np.flatnonzero(~known)[direct]))
            y[picks] = truth[picks]
    return counted("as_skactiveml in the peer's loop, and direct calls", pairs)


def badge_law(setting: Setting, method: str) -> dict:
    """The second and the third pick, of thirty items, against squared distances over their sum."""
    made = items(30, 8, SEED, setting.device)
    first, law = law_of_picks(gradients(made))
    draw, counts = generator(SEED, setting.device), np.zeros(law.shape, dtype=int)
    strategy, pool = BADGE(method=method), made.pool()
    for _ in range(500 if setting.quick else 3_000):
        picks = strategy.select(pool, 3, generator=draw).tolist()
        if picks[0] != first:
            raise RuntimeError(f"BADGE, {method}: the first pick is {picks[0]}, not {first}; nothing is timed")
        counts[picks[1], picks[2]] += 1
    fit = chi_square_fit(counts.ravel(), law.ravel())
    return {"label": f"BADGE, {method} (ours)", "n": fit.n, "p": fit.p, "statistic": fit.statistic, "cells": fit.cells}
