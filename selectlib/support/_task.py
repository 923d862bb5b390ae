from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from selectlib._checks import check_choice, check_int
from selectlib.pool import Pool
from selectlib.support._embed import check_inputs, check_module, device_of

Named = TypeVar("Named")


@dataclass(frozen=True, eq=False)
class SupportTask:
    """A new domain of which a few images may be labelled, and what is known of it before any is; see `prepare_tasks`.

    Labels are in it, of the pool and of the held-out images, to answer for what was chosen and to grade. Selectors get
    a `Pool`, which has none.

    Parameters
    ----------
    images : Tensor of floats, shape (n, ...)
        The pool: what may be chosen.
    labels : Tensor of int64, shape (n,)
        Their classes, from 0 to c - 1.
    test : Tensor of floats, shape (m, ...)
        Held-out images of the same domain.
    test_labels : Tensor of int64, shape (m,)
        Their classes.
    models : mapping from str to torch.nn.Module
        What may be adapted, in evaluation mode: images to scores, shape (b, c). "source" is g∘f, as the source domain
        taught it; "adapted" is g∘f', its features f having been trained on by self-supervision.
    features : mapping from str to Tensor of floats, shapes (n, d)
        Of the pool: "source" of f, "adapted" of f', "projector" of the projector on f'.
    proba : mapping from str to Tensor of floats, shapes (n, c)
        Class probabilities of the pool: "source" of g∘f, "adapted" of g∘f', "ensemble" their mean.
    seed : int
        Names the task's draws, from 0 to 2**32 - 1.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If lengths or widths do not fit, or a label names no class.

    Examples
    --------
    >>> import torch
    >>> images, labels = torch.rand(20, 1, 4, 4), torch.arange(20) % 2
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2)).eval()
    >>> proba = net(images).softmax(1).detach()
    >>> task = SupportTask(
    ...     images, labels, images, labels, {"source": net}, {"source": images.flatten(1)}, {"source": proba}, seed=100
    ... )
    >>> len(task.pool("source", "source")), task.n_classes
    (20, 2)
    """

    images: Float[Tensor, "n ..."]
    labels: Int[Tensor, "n"]
    test: Float[Tensor, "m ..."]
    test_labels: Int[Tensor, "m"]
    models: Mapping[str, nn.Module]
    features: Mapping[str, Float[Tensor, "n _"]]
    proba: Mapping[str, Float[Tensor, "n c"]]
    seed: int

    def __post_init__(self) -> None:
        check_int("seed", self.seed, 0, 2**32 - 1)
        for name, model in self.models.items():
            check_module(f"models[{name!r}]", model)
        widths = {rows.shape[-1] for rows in self.proba.values()}
        if len(widths) != 1:
            raise ValueError(f"proba must hold tensors of one width, the number of classes, got {sorted(widths)}")
        _check_labelled("images", self.images, "labels", self.labels, self.n_classes)
        _check_labelled("test", self.test, "test_labels", self.test_labels, self.n_classes)
        for field in ("features", "proba"):
            for name, rows in getattr(self, field).items():
                if len(rows) != len(self.images):
                    raise ValueError(
                        f"{field}[{name!r}] must have {len(self.images)} rows, one an image, got {len(rows)}"
                    )

    @property
    def n_classes(self) -> int:
        """Number of classes, c: a budget of K shots is K c labels."""
        return next(iter(self.proba.values())).shape[1]

    def pool(self, features: str = "projector", proba: str = "ensemble") -> Pool:
        """What selectors choose from.

        Parameters
        ----------
        features : str, default "projector"
            Which of `features`.
        proba : str, default "ensemble"
            Which of `proba`; the pool's logits are their logarithms, so that a softmax gives them back.

        Returns
        -------
        Pool
            With `features` and `logits`.

        Raises
        ------
        ValueError
            If there is nothing of that name.
        """
        chances = _named("proba", self.proba, proba)
        smallest = torch.finfo(chances.dtype).tiny  # a pool's logits are finite
        return Pool(_named("features", self.features, features), logits=chances.clamp_min(smallest).log())

    @torch.no_grad()
    def accuracy(
        self,
        model: nn.Module,
        where: Literal["held_out", "pool"] = "held_out",
        exclude: Int[Tensor, "k"] | None = None,
        *,
        batch_size: int = 256,
    ) -> float:
        """Grade a model.

        Parameters
        ----------
        model : torch.nn.Module
            Maps images to scores, shape (b, c); the largest counts. It is called as it is: one with batch
            normalisation should be in evaluation mode, unless it means to use the batch's own statistics.
        where : {"held_out", "pool"}, default "held_out"
            On which images.
        exclude : Tensor of int64, shape (k,), optional
            Indices of images of the pool that do not count, such as those that `model` has learnt from.
        batch_size : int, default 256
            Images a pass.

        Returns
        -------
        float
            Share of the images whose class is right [%].

        Raises
        ------
        ValueError
            If a score is NaN, `exclude` is given for the held-out images or leaves nothing, or another argument is out
            of range.
        """
        check_choice("where", where, ("held_out", "pool"))
        check_int("batch_size", batch_size, 1)
        images, labels = (self.test, self.test_labels) if where == "held_out" else (self.images, self.labels)
        if exclude is not None:
            if where == "held_out":
                raise ValueError("exclude must be None for the held-out images: it holds indices of the pool")
            counts = torch.ones(len(images), dtype=torch.bool, device=images.device)
            counts[exclude.to(images.device)] = False
            images, labels = images[counts], labels[counts]
            if len(images) == 0:
                raise ValueError("exclude must leave at least one image of the pool, got all of them")
        device = device_of(model, images)
        scores = torch.cat([model(block.to(device, non_blocking=True)) for block in images.split(batch_size)])
        if scores.isnan().any():
            raise ValueError("model must not give scores that are NaN")
        return 100 * (scores.argmax(1) == labels.to(device)).double().mean().item()


def _named(field: str, values: Mapping[str, Named], name: str) -> Named:
    check_choice(field, name, tuple(values))
    return values[name]


def _check_labelled(name: str, images: Tensor, labels_name: str, labels: Tensor, classes: int) -> None:
    """Raise unless there is one label an image, and each names a class."""
    check_inputs(images)
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        given = f"{labels.dtype} of shape {tuple(labels.shape)}"
        raise ValueError(f"{labels_name} must hold one int64 for each of the {len(images)} {name}, got {given}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"{labels_name} must be from 0 to {classes - 1}, got {int(labels.min())} to {int(labels.max())}"
        )
