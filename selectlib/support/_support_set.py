"""The support set that SelectNAdapt chooses, from arguments that are checked."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.kernels import kcenter_greedy
from selectlib.support._class_kmeans import ClassKMeansResult, class_kmeans
from selectlib.support._short import fill_by_probability, top_per_class

_NUMBERS = 2**22  # differences held together


class SupportSet(NamedTuple):
    """What was chosen, for which classes, and why."""

    items: Int[Tensor, "k"]  # labelled already, chosen, filled, in this order
    classes: Int[Tensor, "k"]  # what each was chosen for
    labels: Int[Tensor, "n"]  # the class of each item of the pool
    scores: Float[Tensor, "n"]
    centers: Float[Tensor, "c k d"]
    short: Int[Tensor, "c"]  # how many items each class lacked
    first_filled: int  # where in `items` those begin that fill short classes


def choose_support(
    Z: Float[Tensor, "n d"],
    proba: Float[Tensor, "n c"],
    classes: Int[Tensor, "n"],
    shots: int,
    labeled: Int[Tensor, "l"],
    on_short: str,
    options: dict[str, Any],
) -> SupportSet:
    """Cluster each class, choose of each cluster the item nearest its centre, and fill the classes that are short."""
    n_classes = proba.shape[1]
    quota = _new_shots(torch.bincount(classes[labeled], minlength=n_classes), shots)
    clustered, scores = _cluster(Z, classes, labeled, quota, options)
    width = clustered.centers.shape[1]
    held = torch.bincount(classes[labeled], minlength=n_classes)
    cluster = torch.arange(width, device=Z.device)
    wanted = (cluster >= held.unsqueeze(1)) & (cluster < (held + quota).unsqueeze(1))
    candidates = scores.nan_to_num(nan=-torch.inf).index_fill(0, labeled, -torch.inf)
    chosen, cell = top_per_class(candidates, classes * width + clustered.labels, wanted.flatten().long())
    chosen_for = cell // width
    short = quota - torch.bincount(chosen_for, minlength=n_classes)
    items, taken_for = torch.cat([labeled, chosen]), torch.cat([classes[labeled], chosen_for])
    filled, filled_for = items[:0], items[:0]
    if bool(short.any()):
        if on_short == "raise":
            raise ValueError(f"classes must have {shots} distinct items each; these lack some: {_listed(short)}")
        if on_short == "top_prob":
            filled, filled_for = fill_by_probability(items, short, proba)
        elif on_short == "kcenter":
            free = torch.ones(len(Z), dtype=torch.bool, device=Z.device).index_fill_(0, items, False)
            free = free.nonzero().squeeze(1)
            filled = free[kcenter_greedy(Z[free], int(short.sum()), centers=Z[items])]
            filled_for = torch.arange(n_classes, device=Z.device).repeat_interleave(short)
    return SupportSet(
        torch.cat([items, filled]),
        torch.cat([taken_for, filled_for]),
        classes,
        scores,
        clustered.centers,
        short,
        len(items),
    )


def _new_shots(held: Int[Tensor, "c"], shots: int) -> Int[Tensor, "c"]:
    """How many new items each class gets: one by one to the class with the fewest, until there are shots·c in all."""
    left = shots * len(held) - int(held.sum())
    open_ = torch.arange(shots, device=held.device).unsqueeze(1) >= held
    return torch.bincount(open_.nonzero()[:left, 1], minlength=len(held))


def _cluster(
    Z: Float[Tensor, "n d"],
    classes: Int[Tensor, "n"],
    labeled: Int[Tensor, "l"],
    quota: Int[Tensor, "c"],
    options: dict[str, Any],
) -> tuple[ClassKMeansResult, Float[Tensor, "n"]]:
    """Cluster the classes of which anything is wanted, and score their items; the others get cluster 0 and NaN."""
    held = torch.bincount(classes[labeled], minlength=len(quota))
    rows = (quota > 0)[classes].nonzero().squeeze(1)
    scores = torch.full((len(Z),), torch.nan, dtype=torch.float64, device=Z.device)
    labels = torch.zeros_like(classes)
    if not len(rows):
        nothing = Z.new_full((len(quota), 1, Z.shape[1]), torch.nan)
        return ClassKMeansResult(nothing, labels, Z.new_zeros(len(quota))), scores
    place = torch.full_like(classes, -1)
    place[rows] = torch.arange(len(rows), device=Z.device)
    pinned = place[labeled]
    some = Z if len(rows) == len(Z) else Z[rows]
    found = class_kmeans(
        some,
        classes[rows],
        (held + quota).where(quota > 0, 1),
        n_classes=len(quota),
        pinned=pinned[pinned >= 0],
        **options,
    )
    labels[rows] = found.labels
    for part in rows.split(max(1, _NUMBERS // max(1, Z.shape[1]))):
        own = found.centers[classes[part], labels[part]].double()
        scores[part] = -torch.linalg.vector_norm(Z[part].double() - own, dim=1)
    return ClassKMeansResult(found.centers, labels, found.inertia), scores


def _listed(short: Int[Tensor, "c"]) -> str:
    return ", ".join(f"class {c} lacks {int(short[c])}" for c in short.nonzero().squeeze(1)[:10].tolist())
