import copy
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from selectlib._checks import check_generator, check_int, check_positive
from selectlib.device import pick_device
from selectlib.nets._initial import initial_model

Progress = Callable[[Iterable[int]], Iterable[int]]


@runtime_checkable
class Views(Protocol):
    """What makes a randomly changed copy of each image of a batch."""

    def __call__(self, images: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return one view of each image, in the order of `images`."""
        ...


def simclr(
    encoder: nn.Module,
    images: Float[Tensor, "n ..."],
    *,
    views: Views,
    steps: int = 200,
    batch_size: int = 96,
    lr: float | int = 2e-3,
    temperature: float | int = 0.2,
    projection: int = 32,
    generator: torch.Generator,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> nn.Module:
    """Pretrain an encoder without labels: two views of an image should be nearer than views of different ones.

    A step makes two views of each image of a batch and maps them, through the encoder and a head that is thrown away
    at the end, to unit vectors u; the loss is `contrastive_loss` of them.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps images to features, shape (b, d). It is copied; what is given is left as it is.
    images : Tensor of floats, shape (n, ...)
        Unlabelled images; batches are moved to `device`.
    views : callable
        ``views(images, generator=generator)`` makes a view of each image, such as `selectlib.data.digit_pair_views`.
    steps : int, default 200
        Steps of Adam, at least 0.
    batch_size : int, default 96
        Distinct images a step, from 2 to n.
    lr : float, default 2e-3
        Learning rate, above 0.
    temperature : float, default 0.2
        T of the loss, above 0.
    projection : int, default 32
        Outputs of the head, a ReLU and a linear layer.
    generator : torch.Generator
        Source of all draws: the head's weights, the order of the images, the views.
    device : str or torch.device, default "cpu"
        Where to train; names as in `selectlib.device.pick_device`.
    progress : callable, optional
        Wraps the range of steps, as ``tqdm`` does.

    Returns
    -------
    torch.nn.Module
        The trained copy, on `device`, in evaluation mode.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of range.

    Notes
    -----
    A step costs ``2 * batch_size`` images forward and backward. With images and generator on the device nothing in
    the loop waits for it. The images are shuffled anew when fewer than a batch are left.

    Source: T. Chen, S. Kornblith, M. Norouzi and G. Hinton, "A simple framework for contrastive learning of visual
    representations", ICML 2020.

    Examples
    --------
    >>> from selectlib.data import digit_pair_views, make_digit_pairs
    >>> from selectlib.nets import ConvEncoder
    >>> from selectlib.seeding import generator
    >>> pairs = make_digit_pairs(seed=100, per_class=2)
    >>> draws = generator(100)
    >>> encoder = simclr(ConvEncoder(), pairs.images, views=digit_pair_views, steps=2, generator=draws)
    >>> encoder(pairs.images).shape
    torch.Size([400, 64])
    """
    _check(encoder, images, views, generator)
    check_int("steps", steps, 0)
    check_int("batch_size", batch_size, 2, len(images))
    check_positive("lr", lr)
    check_positive("temperature", temperature)
    check_int("projection", projection, 1)
    where = pick_device(device)
    trained = copy.deepcopy(encoder).to(where).eval()
    with torch.no_grad():
        width = trained(images[:1].to(where)).shape[1]
    seed = int(torch.randint(2**32, (), generator=generator, device=generator.device))
    head = initial_model(lambda: nn.Sequential(nn.ReLU(), nn.Linear(width, projection)), seed).to(where)
    trained.train()
    parameters = [*(p for p in trained.parameters() if p.requires_grad), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=True)
    an_epoch = len(images) // batch_size
    for step in range(steps) if progress is None else progress(range(steps)):
        if step % an_epoch == 0:
            order = torch.randperm(len(images), generator=generator, device=generator.device).to(images.device)
        start = step % an_epoch * batch_size
        batch = images[order[start : start + batch_size]].to(where, non_blocking=True)
        both = torch.cat([views(batch, generator=generator) for _ in range(2)])
        optimizer.zero_grad()
        contrastive_loss(head(trained(both)), temperature).backward()
        optimizer.step()
    return trained.eval()


def contrastive_loss(outputs: Float[Tensor, "b2 d"], temperature: float | int) -> Float[Tensor, ""]:
    """Cross-entropy of finding the other view of an image among all other views: the NT-Xent loss.

    With unit vectors u it is the mean over all views i, whose partner is j, of
    ``-log(exp(u_i.u_j / T) / sum over k != i of exp(u_i.u_k / T))``.

    Parameters
    ----------
    outputs : Tensor of floats, shape (2b, d)
        Of one view of b images, then of the other view of the same images; they are normalised here.
    temperature : float
        T.

    Returns
    -------
    Tensor of floats, shape ()

    Examples
    --------
    >>> import torch
    >>> contrastive_loss(torch.tensor([[1.0], [-1.0], [2.0], [-3.0]]), 1.0)  # log(1 + 2 / e**2): both views agree
    tensor(0.2395)
    """
    units = normalize(outputs, dim=1)
    cosines = units @ units.T
    n = len(outputs)
    partners = torch.arange(n, device=outputs.device).roll(n // 2)
    return cross_entropy((cosines / temperature).fill_diagonal_(-torch.inf), partners)


def _check(encoder, images, views, generator) -> None:
    """Raise a clear error before any work."""
    if not isinstance(encoder, nn.Module):
        raise TypeError(f"encoder must be a torch.nn.Module, got {type(encoder).__name__}")
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise TypeError(f"images must be a tensor of floats, got {getattr(images, 'dtype', type(images).__name__)}")
    if images.ndim < 2 or len(images) < 2:
        raise ValueError(f"images must have shape (n, ...) with n at least 2, got {tuple(images.shape)}")
    if not callable(views):
        raise TypeError(f"views must be callable, got {type(views).__name__}")
    check_generator(generator)
