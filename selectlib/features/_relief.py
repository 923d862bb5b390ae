import torch
from jaxtyping import Float
from torch import Tensor

from selectlib._checks import check_generator, check_int

_BLOCK = 4_000_000  # entries of the neighbours' differences that are held at once


def relief_f(
    X: Float[Tensor, "n d"],
    y: Tensor,
    *,
    n_neighbors: int = 10,
    n_rows: int | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "d"]:
    """Score columns by ReliefF: how much more a column differs between near rows of two classes than within one.

    Neighbours are found with all columns at once, so that a column counts that says something only beside others: a
    reference filter for interactions.

    Parameters
    ----------
    X : Tensor of floats, shape (n, d)
        The table. Each column is divided by its range, so that its units do not matter.
    y : Tensor, shape (n,)
        Class of each row; at least two classes.
    n_neighbors : int, default 10
        Nearest rows taken from each class, or all of the class where it has fewer; at least 1.
    n_rows : int, optional
        Number of rows, drawn without replacement, whose neighbours are looked at, from 1 to n; default: all.
    generator : torch.Generator, optional
        Source of that draw, on the CPU or on the device of X; needed only with `n_rows`.

    Returns
    -------
    Tensor of floats, shape (d,)
        Scores from -1 to 1, higher is better; 0 for a constant column. Device and dtype of X.

    Raises
    ------
    TypeError
        If X is no tensor of floats, or another argument has the wrong type.
    ValueError
        If shapes do not fit, X is not finite, a class has a single row, there are fewer than two classes, or a number
        is out of range.

    Notes
    -----
    Distances are sums of absolute differences; of several other classes, each counts by its share. Time
    O(rows n d), memory O(n d) and a block. Source: Kononenko, "Estimating attributes: analysis and extensions of
    RELIEF", ECML 1994; it stands beside the paper's methods as one of our baselines.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> X = torch.randn(500, 10, generator=generator(100), dtype=torch.float64)
    >>> relief_f(X, (X[:, 3] * X[:, 7]).sign()).topk(2).indices.sort().values
    tensor([3, 7])
    """
    X, labels, classes = _checked(X, y)
    n = len(X)
    check_int("n_neighbors", n_neighbors, 1)
    rows = torch.arange(n, device=X.device)
    if n_rows is not None:
        check_int("n_rows", n_rows, 1, n)
        drawn = check_generator(generator)
        rows = torch.randperm(n, generator=drawn, device=drawn.device)[:n_rows].to(X.device)
    low, high = X.aminmax(dim=0)
    X = (X - low) / torch.where(high > low, high - low, 1)
    share = classes.to(X.dtype) / n
    score = torch.zeros(X.shape[1], dtype=X.dtype, device=X.device)
    for block in rows.split(max(1, _BLOCK // max(n, min(n_neighbors, n) * X.shape[1]))):
        distance = torch.cdist(X[block], X, p=1)
        distance[torch.arange(len(block), device=X.device), block] = torch.inf  # no row is its own neighbour
        for label in range(len(classes)):
            members = (labels == label).nonzero()[:, 0]
            own = labels[block] == label
            near = distance[:, members].topk(min(n_neighbors, len(members)), largest=False)
            reached = near.values.isfinite()  # a row of a small class may meet itself
            difference = (X[block][:, None] - X[members[near.indices]]).abs_() * reached[..., None]
            mean = difference.sum(1) / reached.sum(1, keepdim=True)
            weight = torch.where(own, -1.0, share[label] / (1 - share[labels[block]]))
            score += weight @ mean
    return score / len(rows)


def _checked(X: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The table, its labels as indices of classes, and the size of each class."""
    if not isinstance(X, Tensor) or not X.is_floating_point():
        raise TypeError(f"X must be a tensor of floats, got {getattr(X, 'dtype', type(X).__name__)}")
    if X.ndim != 2 or not X.numel():
        raise ValueError(f"X must be two-dimensional with at least one entry, got shape {tuple(X.shape)}")
    if not isinstance(y, Tensor):
        raise TypeError(f"y must be a tensor, got {type(y).__name__}")
    if y.shape != X.shape[:1]:
        raise ValueError(f"y must have shape ({len(X)},), one class a row, got {tuple(y.shape)}")
    if not X.isfinite().all():
        raise ValueError("X must be finite, got NaN or infinity")
    _, labels, sizes = torch.unique(y.to(X.device), return_inverse=True, return_counts=True)
    if len(sizes) < 2 or sizes.min() < 2:
        raise ValueError(f"y must have at least two classes of at least two rows each, got sizes {sizes.tolist()}")
    return X, labels, sizes
