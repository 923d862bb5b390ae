"""scikit-activeml's TypiClust and ProbCover as contestants. Import this module only where that is installed."""

import numpy as np
from skactiveml.pool import ProbCover, TypiClust


def typi_clust(X: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Its choice of k, nothing labelled yet."""
    return TypiClust(random_state=seed).query(X, np.full(len(X), np.nan), batch_size=k)


def prob_cover(X: np.ndarray, k: int, delta: float, seed: int) -> np.ndarray:
    """The same by balls of a radius that is given: then it clusters nothing."""
    return ProbCover(deltas=[delta], n_classes=2, random_state=seed).query(X, np.full(len(X), np.nan), batch_size=k)
