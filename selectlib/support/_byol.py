import copy
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.optim.swa_utils import get_ema_multi_avg_fn

from selectlib._checks import check_generator, check_int, check_positive
from selectlib.support._batches import shuffled_batches
from selectlib.support._embed import check_inputs, check_module, device_of, embed, features_of
from selectlib.support._seeded import seeded

Progress = Callable[[Iterable[int]], Iterable[int]]


@runtime_checkable
class Augment(Protocol):
    """What makes a randomly changed copy of each image of a batch."""

    def __call__(self, images: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return one view of each image, in the order and shape of `images`."""
        ...


class BYOL(nn.Module):
    """Self-supervision of a backbone by predicting one view of an image from another: bootstrap your own latent.

    An online network (backbone f, projector h, predictor q) learns to predict, from one view of an image, what a
    target network says of another view; the target network is a moving average of the online one and gets no gradient.
    With normalised q and z, views v and w, and z' of the target network, the loss of an image is

        L = ``(2 - 2 <q(z_v), z'_w>) + (2 - 2 <q(z_w), z'_v>)``, from 0 to 8.

    Parameters
    ----------
    backbone : torch.nn.Module
        f, where to start: by its ``features``, where it has such, else by its call it maps images to features, shape
        (b, d). It is copied, and a head it may have is left as it is.
    projection : int, default 64
        Width of what is predicted. The paper's code takes 256.
    hidden : int, default 256
        Hidden width of projector and predictor. The paper's code takes 4096.
    momentum : float, default 0.99
        τ of ξ ← τ ξ + (1 - τ) θ, from 0 to below 1.

    Attributes
    ----------
    online, predictor, target : torch.nn.Module
        The networks; `online` and `target` have a ``backbone`` and a ``projector``. Projector and predictor (linear
        layer, batch normalisation, ReLU, linear layer) are made at the first loss, when the width d is seen; before,
        they are identities.

    Raises
    ------
    TypeError
        If `backbone` is no module, or a number has the wrong type.
    ValueError
        If a number is out of range.

    Notes
    -----
    Each view is a batch of its own, with its own batch statistics, in both networks. The moving average is taken of
    parameters only: the running averages of the target's batch normalisation are its own. Losses are computed in
    float32 at least.

    Grill et al., "Bootstrap your own latent", NeurIPS 2020; the details are those of the package whose names the
    official code of Dawoud et al., "SelectNAdapt", ICCVW 2023, uses.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> from selectlib.support import affine_views
    >>> images = torch.rand(64, 1, 8, 8, generator=generator(100))
    >>> byol = BYOL(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 16)), projection=8, hidden=32)
    >>> backbone, projector = byol.fit(images, epochs=2, augment=affine_views, generator=generator(100))
    >>> projector(backbone(images)).shape
    torch.Size([64, 8])
    """

    def __init__(self, backbone: nn.Module, *, projection: int = 64, hidden: int = 256, momentum: float | int = 0.99):
        super().__init__()
        check_module("backbone", backbone)
        self.projection, self.hidden = check_int("projection", projection, 1), check_int("hidden", hidden, 1)
        if isinstance(momentum, bool) or not isinstance(momentum, int | float):
            raise TypeError(f"momentum must be a number, got {type(momentum).__name__}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, got {momentum}")
        self.momentum = momentum
        self.online = _Encoder(copy.deepcopy(backbone))
        self.predictor: nn.Module = nn.Identity()
        self.target = copy.deepcopy(self.online)
        self._made = False
        self.train()

    def loss(self, v: Float[Tensor, "b ..."], w: Float[Tensor, "b ..."]) -> Float[Tensor, "b"]:
        """Compute each image's loss from two views of it; the gradient reaches the online network alone.

        Parameters
        ----------
        v, w : Tensors of floats, shape (b, ...)
            Views of the same images, in the same order; in train mode at least 2.

        Returns
        -------
        Tensor of floats, shape (b,)
            From 0 to 8.
        """
        if not self._made:
            self._make(v)
        online = [self.predictor(self.online(view)) for view in (v, w)]
        with torch.no_grad():
            target = [self.target(view) for view in (w, v)]
        return _distance(online[0], target[0]) + _distance(online[1], target[1])

    @torch.no_grad()
    def update_target(self) -> None:
        """Move the target network's parameters towards the online network's."""
        average = get_ema_multi_avg_fn(self.momentum)
        average([*self.target.parameters()], [*self.online.parameters()], 0)

    def fit(
        self,
        X: Float[Tensor, "n ..."],
        *,
        epochs: int = 20,
        augment: Augment,
        batch_size: int = 128,
        lr: float | int = 1e-3,
        autocast: torch.dtype | None = None,
        generator: torch.Generator,
        progress: Progress | None = None,
    ) -> tuple[nn.Module, nn.Module]:
        """Train the online network with Adam, from where it stands.

        Parameters
        ----------
        X : Tensor of floats, shape (n, ...)
            Unlabelled images, at least 2; batches are moved to the backbone's device.
        epochs : int, default 20
            Passes over the images, at least 0. With none the backbone comes back as it was given, and the projector
            is the identity.
        augment : callable
            ``augment(images, generator=generator)`` makes a view of each image, such as `affine_views` and
            `colour_views`.
        batch_size : int, default 128
            Largest batch, at least 3; the batches of an epoch are of equal size (to one).
        lr : float, default 1e-3
            Learning rate, above 0.
        autocast : torch.dtype, optional
            Half type for `torch.autocast`, such as ``torch.bfloat16``; by default none.
        generator : torch.Generator
            Source of all draws: orders, views, the new layers' weights.
        progress : callable, optional
            Wraps the range of epochs, as ``tqdm`` does.

        Returns
        -------
        backbone, projector : torch.nn.Module
            Copies of the online network's, in evaluation mode.

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        ValueError
            If an argument is out of range.

        Notes
        -----
        An image costs 2 passes forward and 2 backward of the online network and 2 forward of the target an epoch.
        """
        check_inputs(X, 2)
        check_int("epochs", epochs, 0)
        check_int("batch_size", batch_size, 3)
        check_positive("lr", lr)
        check_generator(generator)
        if not callable(augment):
            raise TypeError(f"augment must be callable, got {type(augment).__name__}")
        device = device_of(self, X)
        with seeded(generator):
            if epochs and not self._made:
                self._make(X[:1].to(device))
            optimizer = torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=lr, fused=True)
            for _ in range(epochs) if progress is None else progress(range(epochs)):
                for batch in shuffled_batches(len(X), batch_size, generator=generator):
                    images = X[batch.to(X.device)].to(device, non_blocking=True)
                    views = [augment(images, generator=generator) for _ in range(2)]
                    optimizer.zero_grad()
                    with torch.autocast(device.type, autocast, enabled=autocast is not None):
                        loss = self.loss(*views).mean()
                    loss.backward()
                    optimizer.step()
                    self.update_target()
        return copy.deepcopy(self.online.backbone).eval(), copy.deepcopy(self.online.projector).eval()

    def _make(self, inputs: Tensor) -> None:
        """Make projector, predictor and target network, now that the width of the features can be seen."""
        features = embed(self.online.backbone, inputs[:1])
        self.online.projector = _mlp(features.shape[1], self.hidden, self.projection).to(features)
        self.predictor = _mlp(self.projection, self.hidden, self.projection).to(features)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self._made = True


class _Encoder(nn.Module):
    """A backbone and a projector: ``h(f(x))``."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = convert_conv2d_weight_memory_format(backbone, torch.channels_last)  # takes a quarter less time
        self.projector: nn.Module = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.projector(features_of(self.backbone)(inputs))


def _mlp(width: int, hidden: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out))


def _distance(predictions: Tensor, targets: Tensor) -> Tensor:
    """``2 - 2 cos``, from 0 to 4, as the squared distance of the unit vectors: exactly 0 where they are equal."""
    dtype = torch.promote_types(predictions.dtype, torch.float32)
    return (normalize(predictions.to(dtype), dim=1) - normalize(targets.to(dtype), dim=1)).square().sum(1)
