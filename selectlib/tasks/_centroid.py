"""The nearest-centroid head: how like the mean of each class's shots a query is."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from selectlib._checks import check_int


def nearest_centroid_logits(
    support: Float[Tensor, "e y s d"],
    query: Float[Tensor, "e n d"],
    temperature: float | Tensor = 10.0,
    eps: float = 1e-12,
) -> Float[Tensor, "e n y"]:
    """Score queries for each class by their cosine similarity to the mean of its shots, times a temperature.

    The shots are averaged as they are, and the mean is normalised, so that long shots weigh more.

    Parameters
    ----------
    support : Tensor of floats, shape (E, Y, S, D)
        Features of the S shots of each of the Y classes of E tasks.
    query : Tensor of floats, shape (E, n, D)
        Features of the n queries of each task.
    temperature : float or Tensor, shape (), default 10.0
        Factor of the similarities; a tensor may be learnt. Above 0 it moves no prediction.
    eps : float, default 1e-12
        Norms below it count as it, so that features that are all zero score 0 and give no NaN.

    Returns
    -------
    Tensor of floats, shape (E, n, Y)
        Logits, in the wider of the two dtypes, at least float32, also under autocast.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a task has no shot.

    Notes
    -----
    Time O(E n Y D). Source: the released code of Xu et al., Towards Few-Shot Adaptation of Foundation Models via
    Multitask Finetuning (ICLR 2024); the paper's body was not read.

    Examples
    --------
    >>> import torch
    >>> support = torch.tensor([[[[2.0, 0.0]], [[0.0, 5.0]]]])  # one task, two classes, one shot
    >>> nearest_centroid_logits(support, torch.tensor([[[3.0, 0.0], [0.0, 0.0]]]))
    tensor([[[10.,  0.],
             [ 0.,  0.]]])
    """
    if support.ndim != 4 or query.ndim != 3 or not support.shape[2]:
        raise ValueError(
            "support must have shape (E, Y, S, D) with S at least 1, and query (E, n, D), "
            f"got {tuple(support.shape)} and {tuple(query.shape)}"
        )
    if (support.shape[0], support.shape[3]) != (query.shape[0], query.shape[2]):
        raise ValueError(
            f"query must have shape ({support.shape[0]}, n, {support.shape[3]}), to fit support, "
            f"got {tuple(query.shape)}"
        )
    dtype = torch.promote_types(torch.promote_types(support.dtype, query.dtype), torch.float32)
    with torch.autocast(support.device.type, enabled=False):
        centroids = F.normalize(support.to(dtype).mean(2), dim=-1, eps=eps)
        return temperature * (F.normalize(query.to(dtype), dim=-1, eps=eps) @ centroids.mT)


def episode_loss(
    features: Float[Tensor, "e y m d"], n_shot: int, temperature: float | Tensor = 10.0
) -> Float[Tensor, ""]:
    """Cross-entropy of the queries of some tasks under the nearest-centroid head.

    Parameters
    ----------
    features : Tensor of floats, shape (E, Y, S + Q, D)
        Features of the items of E tasks, the shots first, as `EpisodeSampler` orders them.
    n_shot : int
        S, from 1 to one less than the items of a class.
    temperature : float or Tensor, shape (), default 10.0
        As in `nearest_centroid_logits`.

    Returns
    -------
    Tensor of floats, shape ()
        The mean over all queries, in nats.

    Raises
    ------
    TypeError
        If `n_shot` is no int.
    ValueError
        If `features` is not 4-D, or `n_shot` is out of range.

    Notes
    -----
    Time O(E Y**2 Q D). Source: as `nearest_centroid_logits`.

    Examples
    --------
    >>> import torch
    >>> features = torch.eye(3).repeat(2, 1, 1).unsqueeze(2).expand(2, 3, 4, 3)  # each class at its own corner
    >>> round(float(episode_loss(features, n_shot=1)), 6)
    9.1e-05
    """
    if features.ndim != 4:
        raise ValueError(f"features must have shape (E, Y, S + Q, D), got {tuple(features.shape)}")
    check_int("n_shot", n_shot, 1, features.shape[2] - 1)
    logits = nearest_centroid_logits(features[:, :, :n_shot], features[:, :, n_shot:].flatten(1, 2), temperature)
    classes = torch.arange(features.shape[1], device=features.device)
    answers = classes.repeat_interleave(features.shape[2] - n_shot).expand(len(features), -1)
    return F.cross_entropy(logits.flatten(0, 1), answers.flatten())
