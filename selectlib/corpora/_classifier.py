"""Text that a classifier takes for the target."""

import math
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize
from torch import Tensor

from selectlib.corpora._draws import check_generator, permutation, uniforms
from selectlib.corpora._rows import Rows, check_rows, linear, row_width, take_cpu
from selectlib.kernels import top_k
from selectlib.pool import Pool, check_select_args

Mode = Literal["topk", "pareto"]


class ClassifierSelector:
    """Choose the items that a classifier takes for the target.

    Logistic regression separates target samples from pool items, both scaled to length 1 and the classes weighted
    equally. With p the probability of "target":

    * ``"topk"`` takes the items of largest p;
    * ``"pareto"`` lets some doubtful ones through: in each round every item gets a Pareto draw, and those whose draw is
      above 1 - p are marked; once `k` or more are, `k` of the marked are taken at random.

    Parameters
    ----------
    mode : {"topk", "pareto"}, default "topk"
        How p decides.
    alpha : float, default 9.0
        Shape of the Pareto (Lomax) draws; the probability of a draw above x is (1 + x)^-alpha.
    C : float, default 1.0
        Inverse strength of the classifier's L2 penalty, as in scikit-learn.
    train_rows : int, default 20_000
        Most items of each class that the classifier is fitted and tested on; where there are more, they are drawn.

    Attributes
    ----------
    needs : frozenset of str
        ``{"features", "target_samples"}``.
    report_ : dict
        After `select`: ``heldout_accuracy`` (mean of the two classes' accuracies on the tenth that was held out; 0.5 is
        chance), ``heldout_items`` and ``train_items`` (both classes together).

    Raises
    ------
    TypeError
        If a number has the wrong type.
    ValueError
        If `mode` is unknown, `alpha` or `C` not positive and finite, or `train_rows` below 2.

    Notes
    -----
    The balance, the split and the two modes are those of the classifier baseline in the code of DSIR (Xie et al.,
    2023), which trains fastText; the features here are the caller's, such as `HashedNGrams`. The code of DsDm (Engstrom
    et al., 2024) takes the k largest.

    Examples
    --------
    >>> from selectlib.corpora import HashedNGrams
    >>> from selectlib.seeding import generator
    >>> pool = Pool(
    ...     HashedNGrams(["x = f(y)", "the cat sat on the mat", "return x", "a dog ran", "y = 3"]),
    ...     target_samples=HashedNGrams(["the dog sat", "a cat ran", "the dog ran"]),
    ... )
    >>> sorted(ClassifierSelector().select(pool, 2, generator=generator(100)).tolist())
    [1, 3]
    """

    needs: frozenset[str] = frozenset({"features", "target_samples"})

    def __init__(
        self, mode: Mode = "topk", *, alpha: float | int = 9.0, C: float | int = 1.0, train_rows: int = 20_000
    ):
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
        for name, value in (("alpha", alpha), ("C", C)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number, got {type(value).__name__}")
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a finite positive number, got {value}")
        if isinstance(train_rows, bool) or not isinstance(train_rows, int):
            raise TypeError(f"train_rows must be an int, got {type(train_rows).__name__}")
        if train_rows < 2:
            raise ValueError(f"train_rows must be at least 2, got {train_rows}")
        self.mode, self.alpha, self.C, self.train_rows = mode, float(alpha), float(C), train_rows

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            `features` and `target_samples` have as many columns each: `HashedNGrams` (fast), a tensor of shape (n, d),
            or another source. Both need 2 items or more.
        k : int
            How many, from 1 to ``len(pool)``.
        generator : torch.Generator
            Source of the draws: which items are fitted on and held out, and the Pareto draws.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices on `pool.device`: the most target-like first, or in random order for ``"pareto"``.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, `generator` not a `torch.Generator`, or `target_samples` are no
            rows.
        ValueError
            If `k` is out of range, a side has fewer than 2 items, widths differ, or an item is not finite.

        Notes
        -----
        The classifier is fitted on the CPU by scikit-learn, on at most ``2 train_rows`` rows; the pool is scored in
        blocks where its features are. Time O(n d) for the scores, or the number of non-zeros.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        target = check_rows("target_samples", pool.target_samples, row_width(pool.features))
        logits = self._fit(pool, target, generator)
        if self.mode == "topk":
            return top_k(logits, k).indices.to(pool.device)
        return _pareto(logits, k, self.alpha, generator).to(pool.device)

    def _fit(self, pool: Pool, target: Rows, generator: torch.Generator) -> Float[Tensor, "n"]:
        """Fit the classifier, and return the log-odds of "target" of every item."""
        negatives = self._draw("features", pool.features, generator)
        positives = self._draw("target_samples", target, generator)
        train, heldout = (_labelled(*pair) for pair in zip(negatives, positives, strict=True))
        model = LogisticRegression(C=self.C, class_weight="balanced", max_iter=1000).fit(*train)
        right = model.predict(heldout[0]) == heldout[1]
        self.report_ = {
            "heldout_accuracy": float(np.mean([right[heldout[1] == label].mean() for label in (0, 1)])),
            "heldout_items": len(heldout[1]),
            "train_items": len(train[1]),
        }
        weights = torch.from_numpy(model.coef_.T.copy()).to(pool.device)
        return linear("features", pool.features, weights, unit=True).squeeze(1) + float(model.intercept_[0])

    def _draw(self, name: str, rows: Rows, generator: torch.Generator) -> tuple[Any, Any]:
        """Random rows of one class: nine tenths to fit on, and a tenth, or one row, to test on."""
        if len(rows) < 2:
            raise ValueError(f"{name} must hold 2 items or more, one to fit on and one to hold out, got {len(rows)}")
        drawn = permutation(len(rows), generator)[: self.train_rows]
        X = normalize(take_cpu(name, rows, drawn))
        held = max(1, len(drawn) // 10)
        return X[held:], X[:held]


def _labelled(negatives: Any, positives: Any) -> tuple[Any, np.ndarray]:
    stack = sparse.vstack if sparse.issparse(negatives) or sparse.issparse(positives) else np.vstack
    return stack([negatives, positives]), np.repeat([0, 1], [negatives.shape[0], positives.shape[0]])


def _pareto(logits: Float[Tensor, "n"], k: int, alpha: float, generator: torch.Generator) -> Int[Tensor, "k"]:
    """Mark in rounds until k items are marked, and take k of them at random."""
    q = (-logits).sigmoid()  # 1 - p
    missed = -torch.expm1(-alpha * q.log1p())  # probability that a round does not mark the item: 1 - (1 + q)^-alpha
    # The round that first marks an item is geometric: drawn at once, instead of round after round.
    rounds = (uniforms(len(q), generator).to(q.device).log() / missed.log()).ceil().clamp(min=1)
    marked = (rounds <= rounds.kthvalue(k).values).nonzero().squeeze(1)
    return marked[permutation(len(marked), generator)[:k].to(marked.device)]
