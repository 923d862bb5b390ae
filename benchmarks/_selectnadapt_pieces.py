"""SelectNAdapt from the pieces of scikit-learn: a loop over the classes, as one would write it by hand."""

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin


def cluster_each_class(
    Z: np.ndarray, members: list[np.ndarray], starts: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """k-means of each class from given rows of it, one call a class: labels (n,) and inertia (c,).

    Parameters
    ----------
    Z : ndarray, shape (n, d)
    members : list of ndarray of int
        The rows of each class.
    starts : list of ndarray of int, shape (restarts, k)
        Where among its members each restart of a class begins.
    """
    labels, inertia = np.empty(len(Z), dtype=np.int64), []
    for rows, places in zip(members, starts, strict=True):
        restart = iter(places)

        def next_start(X, k, random_state, restart=restart):
            return X[next(restart)]

        fitted = KMeans(places.shape[1], init=next_start, n_init=len(places)).fit(Z[rows])
        labels[rows] = fitted.labels_
        inertia.append(fitted.inertia_)
    return labels, np.array(inertia)


def select_each_class(Z: np.ndarray, proba: np.ndarray, shots: int, seed: int) -> tuple[np.ndarray, float]:
    """Of each pseudo-class, the item nearest to each centre; and the inertia of all. No item is looked at twice."""
    of = proba.argmax(1)
    chosen, inertia = [], 0.0
    for c in range(proba.shape[1]):
        rows = np.flatnonzero(of == c)
        fitted = KMeans(shots, n_init=10, random_state=seed).fit(Z[rows])
        chosen.append(rows[pairwise_distances_argmin(fitted.cluster_centers_, Z[rows])])
        inertia += fitted.inertia_
    return np.concatenate(chosen), inertia
