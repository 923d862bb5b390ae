"""Does selection pay here? Asked of unlabelled data, before any label is bought."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_int
from selectlib.support._pseudo_labels import refine_pseudo_labels

Advice = Literal["per_class", "refined", "global"]
# The rule's thresholds: fixed by exploration, before the runs that test the advice.
_FEW_CHANGED = 0.2  # share of the pseudo-labels
_STEADY = 0.5  # share of the refined labels
_MANY_SHOTS = 3


@dataclass(frozen=True)
class SelectionReport:
    """What unlabelled data tell of pseudo-labels, and which kind of selection that speaks for; by `selection_report`.

    Printed, it is a small table.

    Parameters
    ----------
    n_shots : int
        Labels for each class, K, that the advice is for.
    agreement : float
        Share of the pool in which the source and the adapted network predict the same class, from 0 to 1.
    changed : float
        Share of the pool whose pseudo-label the refinement changes, from 0 to 1.
    agreement_refined : float
        Share of the pool in which the labels refined on the source and on the adapted features are the same.
    sizes, sizes_refined : tuple of int
        Items of each pseudo-class, before and after the refinement on the adapted features.
    advice : {"per_class", "refined", "global"}
        ``"per_class"``: `SelectNAdapt` as published. ``"refined"``: the same in refined pseudo-classes. ``"global"``:
        cluster the whole pool, as `KMeansRepresentatives` does.

    Examples
    --------
    >>> print(SelectionReport(1, 0.75, 0.125, 0.875, (30, 50), (38, 42), "per_class"))
    f and f' agree                      75.0 % of the pool
    changed by the refinement           12.5 %
    refined labels on f and f' agree    87.5 %
    smallest pseudo-class                 30 items, refined 38
    advice for K = 1                per_class
    """

    n_shots: int
    agreement: float
    changed: float
    agreement_refined: float
    sizes: tuple[int, ...]
    sizes_refined: tuple[int, ...]
    advice: Advice

    def __str__(self) -> str:
        rows = (
            ("f and f' agree", f"{self.agreement:9.1%} of the pool"),
            ("changed by the refinement", f"{self.changed:9.1%}"),
            ("refined labels on f and f' agree", f"{self.agreement_refined:9.1%}"),
            ("smallest pseudo-class", f"{min(self.sizes):7} items, refined {min(self.sizes_refined)}"),
            (f"advice for K = {self.n_shots}", f"{self.advice:>9}"),
        )
        return "\n".join(f"{name:<32}{value.replace('%', ' %')}" for name, value in rows)


def selection_report(
    features_source: Float[Tensor, "n d"],
    features_adapted: Float[Tensor, "n e"],
    proba_source: Float[Tensor, "n c"],
    proba_adapted: Float[Tensor, "n c"],
    n_shots: int,
) -> SelectionReport:
    """Tell from unlabelled data whether selection inside pseudo-classes is likely to pay, for a centroid head.

    Pseudo-classes help as far as they are right, which unlabelled data cannot say; but where they are wrong, they are
    also at odds with the features: `refine_pseudo_labels` then changes many of them. The rule:

    1. If the refinement changes at most 20 % of the pseudo-labels: ``"per_class"``.
    2. Otherwise, for K of 1 or 2, if the labels refined on f and on f' agree on at least 50 % of the pool:
       ``"refined"``.
    3. Otherwise ``"global"``: from K = 3 on, clusters of the whole pool are many enough to meet every class unaided.

    Parameters
    ----------
    features_source, features_adapted : Tensors of floats, shapes (n, d) and (n, e)
        Of the pool, from the source backbone f and from the adapted one, f'.
    proba_source, proba_adapted : Tensors of floats, shape (n, c)
        Class probabilities of the pool by the source's head on either; the pseudo-labels are the largest entries of
        their mean.
    n_shots : int
        Labels for each class that are to be bought, K, at least 1.

    Returns
    -------
    SelectionReport
        The advice, and what it rests on.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If `n_shots` is below 1, shapes do not fit, or a number is not finite.

    Notes
    -----
    Time O(n c (d + e)), memory O(n c) beside the arguments. Ours. The rule and its two thresholds were fixed on digits
    turned in front of backdrops and on digits to USPS, before it was put to the test elsewhere; how often it is right
    is in the chapter's notebook on failures. Where all weights are tuned, any diverse support set is about as good.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> classes = torch.arange(40) % 2
    >>> F = 0.1 * torch.randn(40, 2, generator=generator(100)) + torch.eye(2)[classes]
    >>> sure, wrong = torch.eye(2)[classes], torch.eye(2)[classes.roll(1)]
    >>> selection_report(F, F, sure, sure, 1).advice
    'per_class'
    >>> half = torch.where(torch.arange(40)[:, None] < 18, wrong, sure)
    >>> [selection_report(F, F, half, half, shots).advice for shots in (1, 3)]
    ['refined', 'global']
    """
    check_int("n_shots", n_shots, 1)
    if proba_source.shape != proba_adapted.shape:
        given = f"{tuple(proba_source.shape)} and {tuple(proba_adapted.shape)}"
        raise ValueError(f"proba_source and proba_adapted must have the same shape, got {given}")
    proba = (proba_source + proba_adapted) / 2
    labels = proba.argmax(1)
    on_source, on_adapted = (refine_pseudo_labels(F, proba) for F in (features_source, features_adapted))
    same = proba_source.argmax(1) == proba_adapted.argmax(1), labels != on_adapted, on_source == on_adapted
    agreement, changed, steady = torch.stack(same).double().mean(1).tolist()
    return SelectionReport(
        n_shots,
        agreement,
        changed,
        steady,
        _sizes(labels, proba.shape[1]),
        _sizes(on_adapted, proba.shape[1]),
        _advice(n_shots, changed, steady),
    )


def _advice(n_shots: int, changed: float, agreement_refined: float) -> Advice:
    if changed <= _FEW_CHANGED:
        return "per_class"
    return "refined" if n_shots < _MANY_SHOTS and agreement_refined >= _STEADY else "global"


def _sizes(labels: Int[Tensor, "n"], n_classes: int) -> tuple[int, ...]:
    return tuple(torch.bincount(labels, minlength=n_classes).tolist())
