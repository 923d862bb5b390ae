import math
from typing import Literal

from selectlib._checks import check_choice, check_int
from selectlib.queries._checks import check_share


def round_sizes(
    n_total: int,
    *,
    budget: float = 0.05,
    rounds: int = 5,
    rounding: Literal["exact", "official"] = "exact",
    alpha1: float = 0.5,
) -> list[int]:
    """How many labels to ask for in each round.

    Parameters
    ----------
    n_total : int
        Images of the target before any was labelled, at least 1.
    budget : float, default 0.05
        Share of them to label in all, in (0, 1].
    rounds : int, default 5
        Number of rounds, at least 0; 0 gives an empty list.
    rounding : {"exact", "official"}, default "exact"
        "exact" spends ``floor(budget * n_total)`` labels in all, in rounds that differ by one at most, the larger
        first. "official" is EADA's nested rounding, ``ceil(ceil(alpha1 * n_total) * rate / alpha1)`` labels in every
        round with ``rate = budget / rounds``, which labels somewhat more than the budget.
    alpha1 : float, default 0.5
        Share of the target that EADA's first step keeps, in (0, 1]; read by "official" alone.

    Returns
    -------
    list of `rounds` ints
        Labels of each round, at least 1.

    Raises
    ------
    TypeError
        If `n_total` or `rounds` is not an int, or `budget` or `alpha1` not a number.
    ValueError
        If an argument is out of range, the budget buys fewer labels than there are rounds, or the official rounding
        asks for more labels than there are images.

    Notes
    -----
    Products are rounded to nine decimals first, so that 0.29 · 100 counts as 29.

    The official code (BIT-DA/EADA) fixes the rate of a round at 0.01 of the target, which is 0.05 in five rounds.

    Examples
    --------
    >>> round_sizes(2427), sum(round_sizes(2427))
    ([25, 24, 24, 24, 24], 121)
    >>> round_sizes(2427, rounding="official")
    [25, 25, 25, 25, 25]
    """
    check_int("n_total", n_total, 1)
    check_share("budget", budget)
    check_int("rounds", rounds, 0)
    check_choice("rounding", rounding, ("exact", "official"))
    check_share("alpha1", alpha1)
    if rounds == 0:
        return []
    if rounding == "official":
        kept = math.ceil(round(n_total * alpha1, 9))
        sizes = [math.ceil(round(kept * budget / rounds / alpha1, 9))] * rounds
        if sum(sizes) > n_total:
            raise ValueError(f"n_total must be at least the {sum(sizes)} labels of the official rounds, got {n_total}")
        return sizes
    labels = math.floor(round(n_total * budget, 9))
    if labels < rounds:
        raise ValueError(f"budget must buy a label each round, but {budget} of {n_total} is {labels} for {rounds}")
    each, larger = divmod(labels, rounds)
    return [each + (i < larger) for i in range(rounds)]
