"""Which class an unlabelled item probably has: two networks' mean opinion, and its refinement by class means."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot

from selectlib._checks import check_int
from selectlib.support._embed import check_inputs, check_module, device_of
from selectlib.support._eval_mode import eval_mode


def ensemble_proba(*models: nn.Module, X: Float[Tensor, "n ..."], batch_size: int = 512) -> Float[Tensor, "n c"]:
    """Average the class probabilities of several networks.

    Parameters
    ----------
    *models : torch.nn.Module
        At least one; each maps inputs to logits, shape (b, c).
    X : Tensor of floats, shape (n, ...)
        Inputs; blocks of them are moved to the device of the first model.
    batch_size : int, default 512
        Inputs a pass, at least 1. Bounds the memory; it does not change the result beyond rounding.

    Returns
    -------
    Tensor of floats, shape (n, c)
        Mean over the models of the softmax of their logits, on the models' device. Rows sum to 1.

    Raises
    ------
    TypeError
        If a model is no module, `X` holds no floats, or `batch_size` is not an int.
    ValueError
        If there is no model, `X` is empty, `batch_size` is below 1, or the models' logits differ in shape.

    Notes
    -----
    In evaluation mode and without a graph; the models are left in the modes they were in. *Probabilities* are
    averaged, not logits: one sure network counts for more than one that wavers. Source: the pseudo-labels of Dawoud et
    al. (2023) are the largest entries of the mean over the source network and the self-supervised one under the same
    head.

    Examples
    --------
    >>> wavers, sure = nn.Linear(1, 2), nn.Linear(1, 2)
    >>> for net, bias in ((wavers, [0.0, 0.0]), (sure, [4.0, 0.0])):
    ...     _ = net.load_state_dict({"weight": torch.zeros(2, 1), "bias": torch.tensor(bias)})
    >>> ensemble_proba(wavers, sure, X=torch.zeros(1, 1))
    tensor([[0.7410, 0.2590]])
    """
    if not models:
        raise ValueError("models must name at least one network, got none")
    for i, model in enumerate(models):
        check_module(f"models[{i}]", model)
    check_inputs(X)
    check_int("batch_size", batch_size, 1)
    device = device_of(models[0], X)
    rows = []
    with torch.no_grad(), eval_mode(*models):
        for block in X.split(batch_size):
            block = block.to(device, non_blocking=True)
            logits = [model(block) for model in models]
            if len({each.shape for each in logits}) > 1:
                shapes = ", ".join(str(tuple(each.shape)) for each in logits)
                raise ValueError(f"models must give logits of one shape, got {shapes}")
            rows.append(torch.stack([each.softmax(1) for each in logits]).mean(0))
    return torch.cat(rows)


def refine_pseudo_labels(F: Float[Tensor, "n d"], proba: Float[Tensor, "n c"], *, n_iter: int = 3) -> Int[Tensor, "n"]:
    """Give each item the class whose mean feature points most nearly its way, a few times over.

    Parameters
    ----------
    F : Tensor of floats, shape (n, d)
        Features, such as the backbone's; finite.
    proba : Tensor of floats, shape (n, c)
        Probabilities of the classes, on the device of `F`.
    n_iter : int, default 3
        Rounds, at least 1.

    Returns
    -------
    Tensor of int64, shape (n,)
        Labels from 0 to c - 1.

    Raises
    ------
    TypeError
        If `F` or `proba` holds no floats, or `n_iter` is not an int.
    ValueError
        If shapes or devices do not fit, a number is not finite or a probability is negative, or `n_iter` is below 1.

    Notes
    -----
    In the first round the mean of class c weights item i by ``proba[i, c]``; from then on the items that carry the
    label count, each once. Nearness is the cosine. A class that no item carries any more is out of the running. Time
    O(n_iter n d c), memory O(n (d + c)). This is the repair that the chapter adds to the method; the rule is that of
    SHOT (Liang et al., 2020).

    Examples
    --------
    >>> F = torch.tensor([[1.0, 0.1], [1.0, 0.0], [1.0, -0.1], [0.0, 1.0]])
    >>> proba = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    >>> proba.argmax(1), refine_pseudo_labels(F, proba)
    (tensor([0, 0, 1, 1]), tensor([0, 0, 0, 1]))
    """
    _check(F, proba, n_iter)
    dtype = torch.promote_types(F.dtype, torch.float32)
    directions = normalize(F.detach().to(dtype), dim=1)
    weights = proba.detach().to(dtype)
    for _ in range(n_iter):
        # Cosines ignore lengths, so that a sum of features does for their mean.
        cosines = directions @ normalize(weights.T @ F.detach().to(dtype), dim=1).T
        labels = cosines.masked_fill_(weights.sum(0) == 0, -torch.inf).argmax(1)
        weights = one_hot(labels, proba.shape[1]).to(dtype)
    return labels


def _check(F: Tensor, proba: Tensor, n_iter: int) -> None:
    check_int("n_iter", n_iter, 1)
    for name, value in (("F", F), ("proba", proba)):
        if not isinstance(value, Tensor) or not value.is_floating_point():
            given = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name} must be a tensor of floats, got {given}")
        if value.ndim != 2 or not value.numel():
            raise ValueError(f"{name} must be 2-D and not empty, got shape {tuple(value.shape)}")
        if not torch.stack(torch.aminmax(value)).isfinite().all():
            raise ValueError(f"{name} must be finite")
    if len(F) != len(proba) or F.device != proba.device:
        raise ValueError(
            f"proba must have one row an item of F, on its device: {len(proba)} rows on {proba.device} for "
            f"{len(F)} items on {F.device}"
        )
    if float(proba.min()) < 0:
        raise ValueError(f"proba must hold no negative number, got {float(proba.min())}")
