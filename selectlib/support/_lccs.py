import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from selectlib._checks import check_choice, check_generator, check_int, check_positive
from selectlib.support._centroid_head import CentroidHead
from selectlib.support._embed import device_of, embed
from selectlib.support._lccs_network import Layers, blend, check_scores, check_support, folded, lccs_copy

_ALPHAS = tuple(i / 10 for i in range(11))
_PREDICTED = 512  # images predicted together


class LCCS:
    """Adapt a network to a few labelled images by linear combinations of its normalisation statistics.

    Every batch normalisation becomes an `LCCSBatchNorm`; all other weights stay. (1) For several alphas the source's
    statistics are mixed with those of the support set, alpha parts of the latter, and the alpha of the smallest
    cross-entropy is kept; ties go to the largest. (2) With it the statistics and their bases are measured on the whole
    support set. (3) Adam moves the coefficients, a few a layer, down the cross-entropy of the source's head. (4) The
    head becomes the class means of the support set, or stays.

    Parameters
    ----------
    head : {"auto", "centroid", "linear"}, default "auto"
        ``"linear"`` keeps the source's head; ``"centroid"`` scores by cosine similarity to the means of the classes'
        features, minus infinity for a class without an image. ``"auto"`` is linear up to one image a class on average
        and centroid above. (The official code has linear at 1 shot, centroid at 5 and 10, and nothing in between.)
    svd_dim : "full" or int, default "full"
        The bases have one column less than this; ``"full"`` is the number of images.
    lr : float, default 1e-3
        Learning rate of Adam.
    steps : int, default 10
        Updates, each on the next mini-batch of the shuffled support set; 0 leaves (3) out.
    init_epochs : int, default 10
        Passes over the support set that estimate its statistics for the choice of alpha, at least 1.
    alphas : sequence of floats, optional
        What to choose from, each from 0 to 1; default 0, 0.1, ..., 1.
    batch_size : int, default 32
        Images in a mini-batch; a smaller support set is one batch. In (1) the rest that fills no batch is left out.
    augment : callable, optional
        ``augment(images, generator=generator)`` returns changed images, for (3) and for the statistics of (1). By
        default images stay as they are.

    Attributes
    ----------
    alpha_ : float
        The alpha that was kept.
    losses_ : Tensor of floats, shape (r,)
        Cross-entropy for each of `alphas`, in increasing order.
    coef_ : dict from str to tuple of two Tensors
        Coefficients of means and of standard deviations of each layer, by its name.
    clamped_ : int
        Channels whose standard deviation is held at its lower bound, over all layers.
    model_ : torch.nn.Module
        The adapted network: a copy, in evaluation mode, whose parameters ask for no gradient.

    Raises
    ------
    TypeError
        If a setting is of the wrong type.
    ValueError
        If a setting is out of range.

    Notes
    -----
    All alphas go through the network together, folded into the batch: they never interact. Without augmentation every
    pass over a support set of one batch gives the same statistics, so that one is enough. Then r n images go forward
    for alpha, n for the statistics, and `steps` times n forward and backward; of a larger support set it is
    ``(init_epochs + 1) r n`` for alpha, and `batch_size` a step. Memory is that of r times `batch_size` images, or n.

    It works in the type of the network. The official code adapts in float64, and updates only once in an epoch, on the
    last mini-batch of each of 10 epochs: as many updates as here by default.

    References
    ----------
    W. Zhang, L. Shen, W. Zhang and C.-S. Foo, "Few-shot adaptation of pre-trained networks for domain shift", IJCAI
    2022.

    Examples
    --------
    >>> import torch
    >>> from selectlib.nets import BatchNormConvNet
    >>> from selectlib.seeding import generator
    >>> images, labels = torch.rand(20, 1, 8, 8, generator=generator(100)), torch.arange(20) % 10
    >>> lccs = LCCS(init_epochs=1).fit(BatchNormConvNet().eval(), images, labels, generator=generator(100))
    >>> lccs.predict(images).shape, 0 <= lccs.alpha_ <= 1, len(lccs.coef_)
    (torch.Size([20]), True, 3)
    """

    def __init__(
        self,
        head: Literal["auto", "centroid", "linear"] = "auto",
        *,
        svd_dim: Literal["full"] | int = "full",
        lr: float | int = 1e-3,
        steps: int = 10,
        init_epochs: int = 10,
        alphas: Sequence[float | int] | None = None,
        batch_size: int = 32,
        augment: Callable[..., Tensor] | None = None,
    ):
        self.head = check_choice("head", head, ("auto", "centroid", "linear"))
        if isinstance(svd_dim, str):
            check_choice("svd_dim", svd_dim, ("full",))
        else:
            check_int("svd_dim", svd_dim, 1)
        self.svd_dim = svd_dim
        self.lr = check_positive("lr", lr)
        self.steps = check_int("steps", steps, 0)
        self.init_epochs = check_int("init_epochs", init_epochs, 1)
        self.alphas = _ALPHAS if alphas is None else tuple(sorted(alphas))
        if not self.alphas or not all(0 <= alpha <= 1 for alpha in self.alphas):
            raise ValueError(f"alphas must be one or more numbers from 0 to 1, got {alphas}")
        self.batch_size = check_int("batch_size", batch_size, 1)
        self.augment = augment

    def fit(
        self,
        model: nn.Module,
        X: Float[Tensor, "n *image"],
        y: Int[Tensor, "n"],
        *,
        generator: torch.Generator,
    ) -> "LCCS":
        """Adapt a copy of `model` to labelled images.

        Parameters
        ----------
        model : torch.nn.Module
            With ``features(images)``, shape (n, d), ``head(features)``, shape (n, c), and batch normalisation in
            float32 or float64. It is not changed.
        X : Tensor of floats, shape (n, ...)
            The support set, of the model's type; n >= 1. It is moved to the model's device.
        y : Tensor of int64, shape (n,)
            Its classes, from 0 to c - 1. Some may be missing.
        generator : torch.Generator
            Shuffles the mini-batches, and goes to `augment`.

        Returns
        -------
        LCCS
            Itself, with the attributes that end in an underscore.

        Raises
        ------
        TypeError
            If an argument is of the wrong type.
        ValueError
            If `model` has no batch normalisation, or `X` or `y` is empty, mismatched, not finite or out of range.
        """
        check_generator(generator)
        check_support(X, y)
        adapted, layers = lccs_copy(model, X)
        X, y = X.to(device_of(adapted, X)), y.to(device_of(adapted, X))
        with torch.no_grad():
            n_classes = check_scores(adapted(X[:1]), y)
            losses = self._losses(adapted, layers, X, y, generator)
            # The last of the smallest, so that ties go to the largest alpha.
            kept = len(losses) - 1 - losses.nan_to_num(nan=math.inf).flip(0).argmin()
            blend(layers, losses.new_tensor(self.alphas)[kept].unsqueeze(0))
            adapted(X)
        rank = (len(X) if self.svd_dim == "full" else min(self.svd_dim, len(X))) - 1
        for layer in layers.values():
            layer.eval().span(rank)
        self._descend(adapted, layers, X, y, generator)
        if self.head == "centroid" or (self.head == "auto" and len(X) > n_classes):
            adapted.head = CentroidHead(embed(adapted, X), y, n_classes).eval()
        self.losses_, self.alpha_, self.model_ = losses, self.alphas[int(kept)], adapted
        self.coef_ = {name: (layer.mean_coef[0], layer.std_coef[0]) for name, layer in layers.items()}
        self.clamped_ = int(torch.stack([layer.clamped for layer in layers.values()]).sum())
        return self

    def predict(self, X: Float[Tensor, "n *image"]) -> Int[Tensor, "n"]:
        """Predict the classes of images with the adapted network.

        Parameters
        ----------
        X : Tensor of floats, shape (n, ...)
            Images; they are moved to the network's device in parts.

        Returns
        -------
        Tensor of int64, shape (n,)
            The class of the largest score of each.

        Raises
        ------
        RuntimeError
            If there is no adapted network yet.
        """
        if not hasattr(self, "model_"):
            raise RuntimeError("call fit before predict")
        with torch.no_grad():
            where = device_of(self.model_, X)
            return torch.cat([self.model_(part.to(where)).argmax(1) for part in X.split(_PREDICTED)])

    def adapt(
        self,
        model: nn.Module,
        X: Float[Tensor, "n *image"],
        y: Int[Tensor, "n"],
        *,
        generator: torch.Generator,
    ) -> nn.Module:
        """Fit and give the adapted network, which is what `compare_support` asks of an adapter.

        Parameters
        ----------
        model, X, y, generator
            As in `fit`.

        Returns
        -------
        torch.nn.Module
            `model_`.
        """
        return self.fit(model, X, y, generator=generator).model_

    def _losses(self, model: nn.Module, layers: Layers, X: Tensor, y: Tensor, generator) -> Float[Tensor, "r"]:
        """Cross-entropy of the support set under each alpha, all of them in one batch."""
        n, runs = len(X), len(self.alphas)
        blend(layers, torch.tensor(self.alphas, dtype=X.dtype, device=X.device))
        settled = self.augment is None and n <= self.batch_size  # every pass is the same, and scores as it observes
        passes = 1 if settled else self.init_epochs * max(1, n // self.batch_size)
        for chosen in islice(self._batches(X, generator, drop_last=True), passes):
            scores = model(folded(self._augmented(X[chosen], generator), runs))
        if not settled:
            for layer in layers.values():
                layer.eval()
            parts = [model(folded(part, runs)).unflatten(0, (runs, -1)) for part in X.split(self.batch_size)]
            scores = torch.cat(parts, 1).flatten(0, 1)
        return F.cross_entropy(scores, y.repeat(runs), reduction="none").view(runs, n).mean(1)

    def _descend(self, model: nn.Module, layers: Layers, X: Tensor, y: Tensor, generator) -> None:
        """Move the coefficients down the cross-entropy, and fix them there."""
        coef = [coef for layer in layers.values() for coef in (layer.mean_coef, layer.std_coef)]
        optimizer = torch.optim.Adam(coef, lr=self.lr, fused=True)
        with torch.enable_grad():
            for chosen in islice(self._batches(X, generator), self.steps):
                optimizer.zero_grad()
                F.cross_entropy(model(self._augmented(X[chosen], generator)), y[chosen]).backward()
                optimizer.step()
        for one in coef:
            one.requires_grad_(False).grad = None

    def _batches(self, X: Tensor, generator: torch.Generator, *, drop_last: bool = False) -> Iterator[Tensor | slice]:
        """Mini-batches without end, in a new order at each pass; a small support set is one batch."""
        while len(X) <= self.batch_size:
            yield slice(None)
        while True:
            order = torch.randperm(len(X), generator=generator, device=generator.device).to(X.device)
            parts = order.split(self.batch_size)
            yield from parts[: len(X) // self.batch_size] if drop_last else parts

    def _augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return images if self.augment is None else self.augment(images, generator=generator)
