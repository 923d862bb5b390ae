"""Core-set selection: items far from all that is labelled, by the greedy rule of the k-center problem."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_choice, check_generator, check_int
from selectlib.kernels import kcenter_greedy
from selectlib.pool import Pool, check_select_args
from selectlib.queries._features import all_features


class CoreSet:
    """Query the item farthest from what is labelled or chosen already, and so on: k-center, greedily.

    Parameters
    ----------
    init : {"labeled", "labeled+source"}, default "labeled"
        What is covered before the first choice: the pool's `labeled_features`, or its `source_features` as well. Where
        nothing is (no `labeled_features`, or an empty one), the first choice is the item nearest the mean of the pool.
    method : {"lazy", "plain"}, default "lazy"
        As in `selectlib.kernels.kcenter_greedy`: the choice is the same, "lazy" reads the pool less often.
    block : int, default 4096
        "lazy" looks at up to so many items between two passes over the pool.

    Attributes
    ----------
    needs : frozenset of str
        ``{"features"}``, and ``"source_features"`` for "labeled+source"; `labeled_features` may be missing.

    Raises
    ------
    TypeError
        If `block` is not an int.
    ValueError
        If `init` or `method` is unknown, or `block` is below 1.

    Notes
    -----
    Time O(n d (k + m)) for m items covered before, most of the k passes saved by "lazy"; memory O(n) beside the
    features, which are read into memory where they are a source. Source: Sener and Savarese (ICLR 2018), Algorithm 1;
    that implementations of active learning start from the labelled target alone is why that is the default.

    Examples
    --------
    >>> from selectlib.queries import CoreSet
    >>> from selectlib.seeding import generator
    >>> line = torch.tensor([[0.0], [1.0], [5.0], [9.0]])
    >>> CoreSet().select(Pool(line, labeled_features=torch.tensor([[0.5]])), 2, generator=generator(100))
    tensor([3, 2])
    """

    def __init__(
        self,
        init: Literal["labeled", "labeled+source"] = "labeled",
        method: Literal["lazy", "plain"] = "lazy",
        block: int = 4096,
    ):
        check_choice("init", init, ("labeled", "labeled+source"))
        check_choice("method", method, ("lazy", "plain"))
        self.init, self.method, self.block = init, method, check_int("block", block, 1)
        self.needs = frozenset({"features"} | ({"source_features"} if init == "labeled+source" else set()))

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            Its `features` are read, `labeled_features` if there are any, and `source_features` where `init` says so.
        k : int
            How many, from 1 to ``len(pool)``.
        generator : torch.Generator
            Not drawn from: the choice is determined.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices in the order of choice, the lower index first among ties, on `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range, the pool lacks a field, widths differ, or an item of a source is not finite.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        X = all_features(pool)
        return kcenter_greedy(X, k, centers=self._covered(pool, X), method=self.method, block=self.block)

    def _covered(self, pool: Pool, X: Float[Tensor, "n d"]) -> Float[Tensor, "m d"] | None:
        """What is covered before the first choice; None for nothing."""
        fields = ["labeled_features"] + ["source_features"] * (self.init == "labeled+source")
        covered = []
        for name in fields:
            rows = getattr(pool, name)
            if rows is not None and len(rows):
                if rows.shape[1] != X.shape[1]:
                    raise ValueError(f"{name} must have the width of features, {X.shape[1]}, got {rows.shape[1]}")
                covered.append(rows)
        return torch.cat(covered) if covered else None
