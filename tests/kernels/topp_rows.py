"""Rows to select from, and the smallest sufficient sets by enumeration, for the tests of `topp_mask`."""

from itertools import combinations

import torch

from selectlib.seeding import generator


def sink_rows(n, length, *, sink=0.5, spread=2.0, seed=100):
    """Rows that sum to 1: log-normal weights, the first of which is an attention sink."""
    weights = torch.randn(n, length, generator=generator(seed)).mul(spread).exp()
    weights *= (1 - sink) / weights.sum(-1, keepdim=True)
    weights[:, 0] += sink
    return weights


def smallest_sets(row, p):
    """All sets of the smallest size whose mass is at least p of the row's, by looking at all subsets of its support."""
    values = [float(value) for value in row]
    support = [i for i, value in enumerate(values) if value > 0]
    target = p * sum(values)
    for size in range(1, len(support) + 1):
        found = [s for s in combinations(support, size) if sum(values[i] for i in s) >= target]
        if found:
            return found
    return [()]


def same_up_to_rounding(first, second, weights, share=1e-6):
    """Whether two masks differ, in each row, by no more than this share of the mass."""
    moved = torch.where(first ^ second, weights.double(), 0).sum(-1)
    return bool((moved <= share * weights.double().sum(-1)).all())
