import torch
from jaxtyping import Float
from torch import Tensor


def auroc(source: Float[Tensor, "*r n"], target: Float[Tensor, "*r m"]) -> Float[Tensor, "*r"]:
    """Probability that a random target image scores higher than a random source image; ties count half.

    Parameters
    ----------
    source : Tensor of floats, shape (..., n), n >= 1
        Scores of source images.
    target : Tensor of floats, shape (..., m), m >= 1
        Scores of target images.

    Returns
    -------
    Tensor of float32, shape (...)
        Area under the ROC curve, in [0, 1].

    Notes
    -----
    Time O((n + m) log n), exact; equals the Mann-Whitney statistic over n m.

    Examples
    --------
    >>> auroc(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])).item()
    0.875
    """
    ascending = source.sort(-1).values
    both = [torch.searchsorted(ascending, target.contiguous(), right=right) for right in (False, True)]
    return (both[0] + both[1]).sum(-1) / (2 * source.shape[-1] * target.shape[-1])
