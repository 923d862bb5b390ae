from dataclasses import dataclass

from jaxtyping import Bool, Float32, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class DomainShift:
    """Images of a labelled source domain and of a target domain, with images of both held out for tests.

    Parameters
    ----------
    source, source_labels : Tensors of float32, shape (s, c, h, w), and of int64, shape (s,)
        What may be trained on.
    source_test, source_test_labels : Tensors of float32, shape (t, c, h, w), and of int64, shape (t,)
        Held-out images that look like the source.
    pool, pool_labels : Tensors of float32, shape (n, c, h, w), and of int64, shape (n,)
        The target's images that may be asked about, and the answers: for an oracle, not for a learner.
    pool_shifted : Tensor of bool, shape (n,)
        Which images of the pool look like the target; the others look like the source.
    test, test_labels : Tensors of float32, shape (m, c, h, w), and of int64, shape (m,)
        Held-out images of the target.
    description, licence, provenance : str
        What the data is, under which terms, and from where.

    Examples
    --------
    >>> from selectlib.data import shifted_digits
    >>> digits = shifted_digits("turn", seed=100)
    >>> digits.pool.shape, digits.test.shape, digits.source_test.shape
    (torch.Size([1400, 1, 8, 8]), torch.Size([794, 1, 8, 8]), torch.Size([397, 1, 8, 8]))
    """

    source: Float32[Tensor, "s c h w"]
    source_labels: Int64[Tensor, "s"]
    source_test: Float32[Tensor, "t c h w"]
    source_test_labels: Int64[Tensor, "t"]
    pool: Float32[Tensor, "n c h w"]
    pool_labels: Int64[Tensor, "n"]
    pool_shifted: Bool[Tensor, "n"]
    test: Float32[Tensor, "m c h w"]
    test_labels: Int64[Tensor, "m"]
    description: str
    licence: str
    provenance: str
