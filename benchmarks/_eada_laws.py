"""The law of BADGE from the gradient embeddings that it never makes."""

import numpy as np
import torch
from _eada_pools import CLASSES, Items


def gradients(made: Items) -> np.ndarray:
    """The embeddings in float64, one row an item."""
    p = made.logits.double().softmax(1)
    residual = torch.eye(CLASSES, dtype=p.dtype, device=p.device)[p.argmax(1)] - p
    return torch.einsum("nc,nd->ncd", residual, made.features.double()).flatten(1).cpu().numpy()


def squared_distances(g: np.ndarray, chosen: list[int]) -> np.ndarray:
    """Of each row to the nearest of those chosen."""
    return np.min([((g - g[i]) ** 2).sum(1) for i in chosen], axis=0)


def law_of_picks(g: np.ndarray) -> tuple[int, np.ndarray]:
    """The first pick, and the probability of each pair of a second and a third."""
    first = int((g**2).sum(1).argmax())
    second = squared_distances(g, [first])
    law = np.zeros((len(g), len(g)))
    for i in np.flatnonzero(second):
        third = squared_distances(g, [first, i])
        law[i] = second[i] / second.sum() * third / third.sum()
    return first, law


def distances_of_law(probabilities: np.ndarray, made: Items) -> tuple[float, float]:
    """Total variation distance of a second pick's law from D² / ΣD², without and with the origin as a centre."""
    g = gradients(made)
    lengths = (g**2).sum(1)
    D = squared_distances(g, [int(lengths.argmax())])
    laws = (weights / weights.sum() for weights in (D, np.minimum(D, lengths)))
    without, within = (float(np.abs(probabilities - law).sum() / 2) for law in laws)
    return without, within
