import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class CentroidHead(nn.Module):
    """A head that scores features by their cosine similarity to the mean of each class.

    Parameters
    ----------
    features : Tensor of floats, shape (n, d)
        Of the labelled images.
    labels : Tensor of int64, shape (n,)
        Their classes, from 0 to c - 1.
    n_classes : int
        Number of scores, c.

    Notes
    -----
    A class without an image has no mean: it scores minus infinity and is never predicted.

    Examples
    --------
    >>> import torch
    >>> head = CentroidHead(torch.eye(2), torch.tensor([0, 2]), 3)
    >>> head(torch.tensor([[2.0, 0.0]]))
    tensor([[1., -inf, 0.]])
    """

    centroids: Tensor
    absent: Tensor

    def __init__(self, features: Float[Tensor, "n d"], labels: Int[Tensor, "n"], n_classes: int):
        super().__init__()
        members = F.one_hot(labels, n_classes).to(features.dtype)
        counts = members.sum(0)
        means = members.mT @ features / counts.clamp(min=1).unsqueeze(1)
        self.register_buffer("centroids", F.normalize(means, dim=1))
        self.register_buffer("absent", counts == 0)

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Score features, shape (b, d), for each class, from -1 to 1."""
        scores = F.normalize(features, dim=1) @ self.centroids.mT
        return scores.masked_fill(self.absent, -torch.inf)
