import torch
from jaxtyping import Float
from torch import Tensor, nn

from selectlib._checks import check_int


class LinearAdapter(nn.Module):
    """A linear map of frozen features to features of the same size, which starts as the identity.

    To finetune what sits on top of an encoder whose features were computed once: give the features as the inputs and
    this as the encoder. It has no bias.

    Parameters
    ----------
    dim : int
        D, size of the features, at least 1.

    Attributes
    ----------
    weight : torch.nn.Parameter of float32, shape (D, D)
        W; row j makes the feature j.

    Raises
    ------
    TypeError
        If `dim` is not an int.
    ValueError
        If `dim` is below 1.

    Notes
    -----
    D² parameters, and n D² operations for n rows. Centroids are means, so that a bias would shift them and the queries
    alike.

    Examples
    --------
    >>> import torch
    >>> features = torch.rand(5, 8)
    >>> torch.equal(LinearAdapter(8)(features), features)
    True
    """

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(check_int("dim", dim, 1)))

    def forward(self, features: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Map features, shape (..., D), to ``features @ weight.T``, shape (..., D)."""
        return nn.functional.linear(features, self.weight)
