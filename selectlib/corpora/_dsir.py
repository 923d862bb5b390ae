"""DSIR: text whose n-grams are distributed like the target's."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.corpora._draws import check_generator, gumbels
from selectlib.corpora._ngrams import HashedNGrams
from selectlib.corpora._rows import Rows, check_rows, column_sums, linear, row_width
from selectlib.kernels import top_k
from selectlib.pool import Pool, check_select_args

_EPSILON = 1e-8  # added to probabilities, so that a bucket that was never seen has a logarithm


class DSIRSelector:
    """Choose texts by data selection with importance resampling.

    Two bags of hashed n-grams are compared: the target's and the pool's. The log importance weight of a text is the sum
    over its n-grams of log(target probability) - log(pool probability); texts are drawn without repeats in proportion
    to their weights. The sum is not divided by the length, as in the authors' package: longer texts have larger
    weights of either sign, so give texts of similar length.

    Parameters
    ----------
    smoothing : float, default 0.0
        Added to every bucket's count in the target. 0 is the authors' setting.
    min_tokens : int, default 100
        Shorter texts are never chosen. A pool of short sequences needs 0.
    top_k : bool, default False
        Take the k largest weights instead of drawing.
    ngrams : int, default 2
        Longest n-gram in the counts, from which a row's number of tokens follows. Only read where the features are not
        `HashedNGrams`, which know theirs.

    Attributes
    ----------
    needs : frozenset of str
        ``{"features", "target_samples"}``.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If `smoothing` is negative or not finite, `min_tokens` negative, or `ngrams` below 1.

    Notes
    -----
    Source: Xie et al. (2023), sections 3 and 4; details that the paper leaves open are those of the package
    ``data-selection`` 1.0.3. One difference: the pool's distribution is counted over the whole pool, where the package
    stops near 10^9 n-grams.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> pool = Pool(
    ...     HashedNGrams(["x = f(y)", "the cat sat", "return x", "a dog ran"]),
    ...     target_samples=HashedNGrams(["the dog sat", "a cat ran"]),
    ... )
    >>> DSIRSelector(min_tokens=0, top_k=True).select(pool, 2, generator=generator(100))
    tensor([1, 3])
    """

    needs: frozenset[str] = frozenset({"features", "target_samples"})

    def __init__(self, smoothing: float | int = 0.0, min_tokens: int = 100, *, top_k: bool = False, ngrams: int = 2):
        if isinstance(smoothing, bool) or not isinstance(smoothing, int | float):
            raise TypeError(f"smoothing must be a number, got {type(smoothing).__name__}")
        if not (math.isfinite(smoothing) and smoothing >= 0):
            raise ValueError(f"smoothing must be a finite number of at least 0, got {smoothing}")
        for name, value, low in (("min_tokens", min_tokens, 0), ("ngrams", ngrams, 1)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, got {type(value).__name__}")
            if value < low:
                raise ValueError(f"{name} must be at least {low}, got {value}")
        self.smoothing, self.min_tokens, self.top_k, self.ngrams = float(smoothing), min_tokens, top_k, ngrams

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            `features` and `target_samples` are counts of n-grams, as many columns in both: `HashedNGrams` (fast), a
            tensor of shape (n, d), or another source.
        k : int
            How many, from 1 to the number of items with at least `min_tokens` tokens.
        generator : torch.Generator
            Source of the draws; not used with `top_k`.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices on `pool.device`, in the order of the draw (or of the weights, with `top_k`), so that the
            first ones are a choice of fewer.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, `generator` not a `torch.Generator`, or `target_samples` are no
            counts.
        ValueError
            If `k` is out of range, the counts are negative, not finite, of different widths or kinds of n-grams, or a
            side holds no n-gram at all.

        Notes
        -----
        Adding Gumbel noise to the log-weights and taking the k largest is the same as drawing one item after the other
        in proportion to the weights of those that are left. Time O(non-zeros of the counts + k log k), two passes.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        keys, tokens = self._weights_and_tokens(pool)
        long_enough = (tokens >= self.min_tokens).nonzero().squeeze(1)
        if len(long_enough) < k:
            raise ValueError(
                f"k must be at most the {len(long_enough)} items of at least min_tokens={self.min_tokens} tokens, "
                f"got {k}; min_tokens=0 takes items of every length"
            )
        keys = keys[long_enough]
        if not self.top_k:
            keys = keys + gumbels(len(keys), generator).to(keys.device)
        return long_enough[top_k(keys, k).indices].to(pool.device)

    def log_weights(self, pool: Pool) -> Float[Tensor, "n"]:
        """Compute the log importance weight of every item.

        Parameters
        ----------
        pool : Pool
            As in `select`.

        Returns
        -------
        Tensor of float64, shape (n,)
            In nats; items of every length have one.

        Raises
        ------
        TypeError, ValueError
            As `select`.
        """
        check_select_args(self, pool, 1)
        return self._weights_and_tokens(pool)[0]

    def _weights_and_tokens(self, pool: Pool) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        target = _check_target(pool)
        log_ratio = _log_probabilities("target_samples", target, self.smoothing).to(pool.device)
        log_ratio -= _log_probabilities("features", pool.features, 0.0)
        sums = linear("features", pool.features, torch.stack([log_ratio, torch.ones_like(log_ratio)], 1))
        r = pool.features.ngrams if isinstance(pool.features, HashedNGrams) else self.ngrams
        # A text of L tokens has L + (L - 1) + ... + (L - r + 1) n-grams.
        return sums[:, 0], (sums[:, 1] + r * (r - 1) / 2) // r


def _log_probabilities(name: str, counts: Rows, smoothing: float) -> Float[Tensor, "d"]:
    totals = column_sums(name, counts) + smoothing
    if not totals.sum() > 0:
        raise ValueError(f"{name} must hold one n-gram or more, got none")
    return (totals / totals.sum() + _EPSILON).log()


def _check_target(pool: Pool) -> Rows:
    features = pool.features
    target = check_rows("target_samples", pool.target_samples, row_width(features))
    if isinstance(target, HashedNGrams) and isinstance(features, HashedNGrams) and target.ngrams != features.ngrams:
        raise ValueError(
            f"target_samples must count n-grams up to {features.ngrams} as features do, got {target.ngrams}"
        )
    return target
