"""Tasks whose classes are vectors of latent features: the linear case of multitask finetuning."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from selectlib._checks import check_choice, check_generator, check_int


@dataclass(frozen=True, eq=False)
class LinearTasks:
    """Tasks of two classes, from `make_linear_tasks`.

    Parameters
    ----------
    samples : Tensor of float64, shape (M, 2, m, d)
        Samples, by task and class.
    latents : Tensor of float64, shape (M, 2, d)
        The latent vector z of each class, which is the mean of its samples' law.
    """

    samples: Float[Tensor, "M 2 m d"]
    latents: Float[Tensor, "M 2 d"]

    @property
    def differences(self) -> Float[Tensor, "M d"]:
        """Of each task: the difference of the means of its classes' samples; what a linear encoder learns from."""
        means = self.samples.mean(2)
        return means[:, 0] - means[:, 1]


def make_linear_tasks(
    n_tasks: int,
    n_samples: int,
    *,
    d: int,
    features: Sequence[int],
    contrast: Literal["pair", "single"] = "pair",
    noise: float = 0.5,
    generator: torch.Generator,
) -> LinearTasks:
    """Draw tasks between two classes that share latent features and differ in the signs of one or two.

    All classes of all tasks set the k given features to 1 and leave the others at 0. A class flips the sign of one of
    them, drawn at random; samples are the vector of their class with normal noise.

    Parameters
    ----------
    n_tasks : int
        M, at least 1.
    n_samples : int
        Samples of each class of a task, at least 1.
    d : int
        Features of the inputs, at least 1.
    features : sequence of int
        The k features that the classes encode, distinct, from 0 to d - 1; at least 2 for pairs, else 1.
    contrast : {"pair", "single"}, default "pair"
        Whether both classes have a flipped feature, two different ones, so that they differ in these two; or the second
        class alone, so that they differ in one, each in turn as far as the tasks go.
    noise : float, default 0.5
        Standard deviation of the noise, at least 0.
    generator : torch.Generator
        Source of the draws; the tensors lie on its device.

    Returns
    -------
    LinearTasks
        Samples and latent vectors.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If it is out of range.

    Notes
    -----
    Time and memory O(M m d). Source: after the linear case of Xu et al. (ICLR 2024); these laws are ours.

    Examples
    --------
    >>> tasks = make_linear_tasks(5, 4, d=6, features=[0, 2, 3], generator=torch.Generator().manual_seed(100))
    >>> tasks.samples.shape
    torch.Size([5, 2, 4, 6])
    >>> (tasks.latents[:, 0] - tasks.latents[:, 1]).abs().sum(1)
    tensor([4., 4., 4., 4., 4.], dtype=torch.float64)
    """
    check_int("n_tasks", n_tasks, 1)
    check_int("n_samples", n_samples, 1)
    check_int("d", d, 1)
    check_choice("contrast", contrast, ("pair", "single"))
    fewest = 2 if contrast == "pair" else 1
    if len(set(features)) < len(features) or len(features) < fewest or not all(0 <= i < d for i in features):
        raise ValueError(f"features must be at least {fewest} distinct ints from 0 to {d - 1}, got {list(features)}")
    if not 0 <= noise < float("inf"):
        raise ValueError(f"noise must be finite and at least 0, got {noise}")
    check_generator(generator)
    device = generator.device
    encoded = torch.tensor(list(features), device=device)
    k = len(encoded)
    latents = torch.zeros(n_tasks, 2, d, dtype=torch.float64, device=device)
    latents[:, :, encoded] = 1
    if contrast == "pair":
        keys = torch.rand(n_tasks, k, generator=generator, dtype=torch.float64, device=device)
        flipped = encoded[keys.argsort(1)[:, :2]]
        latents.scatter_(2, flipped[:, :, None], -1)
    else:
        flipped = encoded[torch.arange(n_tasks, device=device) % k]
        latents[:, 1].scatter_(1, flipped[:, None], -1)
    drawn = torch.randn(n_tasks, 2, n_samples, d, generator=generator, dtype=torch.float64, device=device)
    return LinearTasks(latents[:, :, None] + noise * drawn, latents)
