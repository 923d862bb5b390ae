"""Finetuning where the encoder and the heads are linear."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from selectlib._checks import check_int


def linear_task_loss(
    encoder: Float[Tensor, "*#batch D d"], differences: Float[Tensor, "*#batch M d"]
) -> Float[Tensor, "*batch M"]:
    """The loss of the best head of norm 1 on tasks of two classes, for a linear encoder.

    Parameters
    ----------
    encoder : Tensor of floats, shape (..., D, d)
        Matrices φ.
    differences : Tensor of floats, shape (..., M, d)
        Of each task: the mean of one class minus that of the other.

    Returns
    -------
    Tensor of floats, shape (..., M)
        ``-‖φ(z - z')‖/2``: the mean, over both classes, of minus the label times the output.

    Examples
    --------
    >>> linear_task_loss(torch.eye(2), torch.tensor([[2.0, 0.0], [3.0, 4.0]]))
    tensor([-1.0000, -2.5000])
    """
    return -torch.linalg.vector_norm(differences @ encoder.mT, dim=-1) / 2


def linear_task_accuracy(
    encoder: Float[Tensor, "D d"], samples: Float[Tensor, "M 2 m d"], *, n_shot: int = 1
) -> Float[Tensor, "M"]:
    """Accuracy on tasks of two classes of the linear head that a few labelled samples give.

    Parameters
    ----------
    encoder : Tensor of floats, shape (D, d)
        The matrix φ.
    samples : Tensor of floats, shape (M, 2, m, d)
        Samples of each task and class, those with labels first.
    n_shot : int, default 1
        Labelled samples of each class, from 1 to m - 1; the others are classified.

    Returns
    -------
    Tensor of floats, shape (M,)
        Share of the samples of each task that are classified rightly.

    Raises
    ------
    TypeError
        If `n_shot` is not an int.
    ValueError
        If it is out of range, or `samples` has not two classes.

    Notes
    -----
    The head is the difference of the means of the labelled features, its threshold their midpoint: the class of the
    nearer mean. The cosines of `nearest_centroid_logits` are no use here, where a good encoder may send a class to 0.

    Examples
    --------
    >>> samples = torch.tensor([[[[0.0, 0.0], [1.0, 9.0]], [[4.0, 0.0], [3.0, 9.0]]]])
    >>> linear_task_accuracy(torch.eye(2), samples)
    tensor([1.])
    """
    if samples.ndim != 4 or samples.shape[1] != 2:
        raise ValueError(f"samples must have shape (M, 2, m, d), got {tuple(samples.shape)}")
    check_int("n_shot", n_shot, 1, samples.shape[2] - 1)
    features = samples @ encoder.mT
    means = features[:, :, :n_shot].mean(2)
    head = means[:, 0] - means[:, 1]
    margins = torch.einsum("mcqd,md->mcq", features[:, :, n_shot:] - means.mean(1)[:, None, None], head)
    right = torch.stack([margins[:, 0] > 0, margins[:, 1] < 0])
    return right.to(samples.dtype).mean((0, 2))


def fit_linear_encoder(
    differences: Float[Tensor, "*batch M d"], *, steps: int = 200, start: Float[Tensor, "*batch D d"] | None = None
) -> Float[Tensor, "*batch D d"]:
    """Finetune a linear encoder on tasks of two classes, by projected gradient descent on the mean of their losses.

    Parameters
    ----------
    differences : Tensor of floats, shape (..., M, d)
        Of each task: the mean of one class minus that of the other. Leading dimensions are independent replicates.
    steps : int, default 200
        Steps, at least 0.
    start : Tensor of floats, shape (..., D, d), optional
        Encoders to start from. Default: the identity, scaled to norm 1.

    Returns
    -------
    Tensor of floats, shape (..., D, d)
        Matrices of Frobenius norm 1.

    Raises
    ------
    TypeError
        If `steps` is not an int.
    ValueError
        If `differences` or `start` is not finite or has a wrong shape, or all tasks of a replicate are zero under it.

    Notes
    -----
    The loss is concave in the encoder, so the least value of its linear bound on the ball is an improvement: each step
    goes to minus the gradient, scaled to norm 1, which is projected descent with a step without bound. The loss falls
    at each step. It is convex in ``φᵀφ``, so that the limit from a start of full rank is the least of all in practice.

    Time O(M d D) a step and replicate, memory O(M (d + D)).

    Examples
    --------
    >>> tasks = 2 * (torch.eye(3)[[0, 0, 1]] - torch.eye(3)[[1, 2, 2]])
    >>> encoder = fit_linear_encoder(tasks)
    >>> linear_task_loss(encoder, tasks).round(decimals=4)
    tensor([-1., -1., -1.])
    """
    check_int("steps", steps, 0)
    if differences.ndim < 2 or 0 in differences.shape or not differences.is_floating_point():
        raise ValueError(
            "differences must be floats of shape (..., M, d) with at least one task, "
            f"got {differences.dtype} of shape {tuple(differences.shape)}"
        )
    *batch, _, d = differences.shape
    if start is None:
        encoder = torch.eye(d, dtype=differences.dtype, device=differences.device).expand(*batch, d, d)
    elif start.shape[:-2] != differences.shape[:-2] or start.shape[-1] != d:
        raise ValueError(f"start must have shape {(*batch, 'D', d)}, got {tuple(start.shape)}")
    else:
        encoder = start
    encoder = normalize(encoder.flatten(-2), dim=-1).unflatten(-1, encoder.shape[-2:])
    for _ in range(steps):
        heads = normalize(differences @ encoder.mT, dim=-1)
        encoder = heads.mT @ differences
        encoder = encoder / torch.linalg.matrix_norm(encoder, keepdim=True)
    if not bool(encoder.isfinite().all()):
        raise ValueError(
            "differences must be finite, and start too, with a task in each replicate that it does not send to 0"
        )
    return encoder
