import torch
from jaxtyping import Float
from torch import Tensor

from selectlib._checks import check_generator, check_int


def add_probes(X: Float[Tensor, "n d"], n: int, *, generator: torch.Generator) -> Float[Tensor, "n e"]:
    """Append columns that look like the others and say nothing: each is a column of X with its rows shuffled.

    Parameters
    ----------
    X : Tensor of floats, shape (n, d)
        The table, n and d at least 1.
    n : int
        How many probes to append, at least 0.
    generator : torch.Generator
        Source of the draws, on the CPU or on the device of X.

    Returns
    -------
    Tensor of floats, shape (n, d + number of probes)
        X, then the probes; device and dtype of X.

    Raises
    ------
    TypeError
        If X is not a tensor of floats, or another argument has the wrong type.
    ValueError
        If X is not two-dimensional or has no entry, or `n` is negative.

    Notes
    -----
    The columns are taken in random order, each as often as any other up to one. A probe keeps the distribution of its
    column and is independent of the target and of the other columns. Time and memory O(rows (d + number of probes)).

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> X = torch.arange(6.0).view(3, 2)
    >>> wide = add_probes(X, 2, generator=generator(100))
    >>> wide.shape, wide.sum(0).sort().values.tolist()
    (torch.Size([3, 4]), [6.0, 6.0, 9.0, 9.0])
    """
    if not isinstance(X, Tensor) or not X.is_floating_point():
        raise TypeError(f"X must be a tensor of floats, got {getattr(X, 'dtype', type(X).__name__)}")
    if X.ndim != 2 or not X.numel():
        raise ValueError(f"X must be two-dimensional with at least one entry, got shape {tuple(X.shape)}")
    check_int("n", n, 0)
    check_generator(generator)
    rows, d = X.shape
    device = generator.device
    rounds = [torch.randperm(d, generator=generator, device=device) for _ in range(-(-n // d))]
    columns = torch.cat([*rounds, torch.empty(0, dtype=torch.int64, device=device)])[:n]
    orders = torch.rand(rows, n, generator=generator, device=device, dtype=torch.float64).argsort(0)
    return torch.cat([X, X[:, columns.to(X.device)].gather(0, orders.to(X.device))], 1)
