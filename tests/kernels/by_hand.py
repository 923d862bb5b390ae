"""The random matrices entry by entry, in plain Python integers: an independent reading of their definition."""

import torch
from scipy.stats import norm

MASK = 2**32 - 1


def philox_by_hand(counter, key):
    """Ten rounds of Philox4x32, as its authors define them."""
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        high_a, low_a = divmod(0xD2511F53 * a, 2**32)
        high_c, low_c = divmod(0xCD9E8D57 * c, 2**32)
        a, b, c, d = high_c ^ b ^ k, low_c, high_a ^ d ^ m, low_a
        k, m = (k + 0x9E3779B9) & MASK, (m + 0xBB67AE85) & MASK
    return a, b, c, d


def words(first, second, model_id, tag, seed):
    return philox_by_hand((first, second, model_id, tag), (seed & MASK, seed >> 32))


def rademacher(row, column, seed, model_id):
    word = words(row // 128, column, model_id, 0, seed)[row % 128 // 32]
    return 1 if word >> (row % 32) & 1 else -1


def gaussian(row, column, seed, model_id):
    """Up to the scale that makes the variance 1."""
    piece = row % 8
    pattern = words(row // 8, column, model_id, 1, seed)[piece // 2] >> 16 * (piece % 2) & 0xFFFF
    return norm.ppf((pattern + 0.5) / 65536)


def sjlt(row, column, seed, model_id, proj_dim, nnz):
    for j in range(nnz):
        word = words(row // 4, j, model_id, 2, seed)[row % 4]
        first, end = j * proj_dim // nnz, (j + 1) * proj_dim // nnz
        if column == first + ((word >> 1) * (end - first) >> 31):
            return 1 if word & 1 else -1
    return 0


def matrix(kind, rows, proj_dim, *, seed, model_id, nnz=1):
    """R before any scaling, float64."""
    entries = {
        "rademacher": lambda r, c: rademacher(r, c, seed, model_id),
        "gaussian": lambda r, c: gaussian(r, c, seed, model_id),
        "sjlt": lambda r, c: sjlt(r, c, seed, model_id, proj_dim, nnz),
    }[kind]
    return torch.tensor([[entries(r, c) for c in range(proj_dim)] for r in rows], dtype=torch.float64)
