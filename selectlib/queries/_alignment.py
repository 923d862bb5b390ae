import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from selectlib._checks import check_choice, check_generator, check_positive
from selectlib.queries._energies import free_energy


class FreeEnergyAlignment(nn.Module):
    """Loss that pulls the free energy of unlabelled target images down to the source's mean: L_fea.

    A step takes one batch of each domain. With F the free energy and Δ a running mean of the source's, the loss is
    ``w mean(max(0, F - Δ))`` over the target batch; neither Δ nor the source's logits receive a gradient. One module
    serves one model, or r models whose logits are stacked: give r weights then.

    Parameters
    ----------
    weight : float or Tensor of floats, shape (r,), default 0.01
        w, at least 0; a vector for r stacked models, one weight each. The official code takes 0.01 for Office-31 and
        Office-Home and 0.0005 for VisDA-2017.
    kind : {"hinge", "l1", "mse"}, default "hinge"
        One-sided as above, or the mean of the absolute or squared difference of F and Δ.
    momentum : "uniform" or float in [0, 1), default "uniform"
        λ of Δ ← λ Δ + (1 - λ) m, where m is the mean of the current source batch; the first m starts Δ. "uniform" draws
        λ anew from [0, 1) at each step, as the official code does: Δ is then almost the current batch's mean. A float
        such as 0.9 remembers longer.
    T : float, default 1.0
        Temperature of the free energy, above 0.
    center : bool, default False
        Take each image's mean logit out of its logits first. Cross-entropy leaves that offset free, so that without
        this the loss can be lowered by the offset alone.
    generator : torch.Generator, optional
        Source of λ; needed where `momentum` is "uniform" and `forward` is not given `mix`.

    Attributes
    ----------
    weight : Tensor, shape () or (r,)
        A buffer that is not part of the state dict.
    bound : Tensor, shape () or (r,)
        Δ, a buffer of the state dict; NaN before the first step.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of range.

    Notes
    -----
    Time O(r b c), with no synchronisation with the device. In eval mode the bound stays as it is.

    Xie et al., "Active Learning for Domain Adaptation: An Energy-Based Approach", AAAI 2022; the rule for Δ is that of
    the official code (BIT-DA/EADA).

    Examples
    --------
    >>> import torch
    >>> align = FreeEnergyAlignment(weight=0.1, momentum=0.9)
    >>> source, target = torch.tensor([[4.0, 0.0]]), torch.tensor([[1.0, 0.0], [9.0, 0.0]])
    >>> loss = align(source, target)  # the first target image has the higher free energy, the second the lower
    >>> round(float(align.bound), 4), round(float(loss), 4)
    (-4.0181, 0.1352)
    """

    weight: Tensor
    bound: Tensor
    kind: Literal["hinge", "l1", "mse"]
    momentum: Literal["uniform"] | float

    def __init__(
        self,
        weight: float | int | Float[Tensor, "..."] = 0.01,
        kind: Literal["hinge", "l1", "mse"] = "hinge",
        momentum: Literal["uniform"] | float | int = "uniform",
        T: float | int = 1.0,
        center: bool = False,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        weights = weight.detach().clone() if isinstance(weight, Tensor) else torch.tensor(float(weight))
        if not weights.is_floating_point():
            raise TypeError(f"weight must hold floats, got {weights.dtype}")
        if weights.ndim > 1 or weights.numel() == 0:
            raise ValueError(f"weight must be a number or a vector of numbers, got shape {tuple(weights.shape)}")
        if not bool((weights.isfinite() & (weights >= 0)).all()):
            raise ValueError(f"weight must be finite and at least 0, got {weight}")
        check_choice("kind", kind, ("hinge", "l1", "mse"))
        if momentum != "uniform" and (isinstance(momentum, str) or not 0 <= momentum < 1):
            raise ValueError(f"momentum must be 'uniform' or a number in [0, 1), got {momentum!r}")
        self.kind, self.momentum, self.center = kind, momentum, center
        self.T = check_positive("T", T)
        self.generator = None if generator is None else check_generator(generator)
        self.register_buffer("weight", weights, persistent=False)
        self.register_buffer("bound", torch.full_like(weights, math.nan))

    def forward(
        self,
        logits_source: Float[Tensor, "*r b c"],
        logits_target: Float[Tensor, "*r b2 c"],
        *,
        mix: Float[Tensor, "*r"] | None = None,
    ) -> Float[Tensor, "*r"]:
        """Compute the weighted loss of one step; in train mode, move the bound first.

        Parameters
        ----------
        logits_source, logits_target : Tensors of floats, shapes (b, c) and (b2, c), or (r, b, c) and (r, b2, c)
            Logits of a batch of either domain; computed with in float32 at least.
        mix : Tensor of floats, shape () or (r,), optional
            λ of this step, in [0, 1], instead of the module's own.

        Returns
        -------
        Tensor of floats, shape () or (r,)
            Losses, differentiable in `logits_target` alone. In eval mode before the first step: NaN.

        Raises
        ------
        ValueError
            If shapes do not fit each other or `weight`, a batch is empty, or λ cannot be drawn.
        """
        self._check(logits_source, logits_target, mix)
        if self.training:
            with torch.no_grad():
                mean = free_energy(logits_source, T=self.T, center=self.center).mean(-1)
                share = self._share(mean) if mix is None else mix.to(mean)
                before = torch.where(self.bound.isnan(), mean, self.bound)
                self.bound = share * before + (1 - share) * mean
        above = free_energy(logits_target, T=self.T, center=self.center) - self.bound.unsqueeze(-1)
        if self.kind == "hinge":
            distances = above.relu()  # sub-gradient 0 at the kink
        else:
            distances = above.abs() if self.kind == "l1" else above.square()
        return self.weight * distances.mean(-1)

    def _share(self, mean: Tensor) -> Tensor | float:
        """λ of this step: the share of the bound that stays."""
        if self.momentum != "uniform":
            return self.momentum
        if self.generator is None:
            raise ValueError("generator is needed to draw the momentum: give FreeEnergyAlignment(generator=...) or mix")
        return torch.rand(mean.shape, generator=self.generator, device=self.generator.device).to(mean)

    def _check(self, logits_source: Tensor, logits_target: Tensor, mix: Tensor | None) -> None:
        """Raise a clear error before any work."""
        replicas = tuple(self.weight.shape)
        for name, logits in (("logits_source", logits_source), ("logits_target", logits_target)):
            if logits.ndim != len(replicas) + 2 or tuple(logits.shape[:-2]) != replicas or 0 in logits.shape:
                wanted = ", ".join([*map(str, replicas), "b", "c"])
                raise ValueError(f"{name} must have shape ({wanted}), none 0, got {tuple(logits.shape)}")
        if logits_source.shape[-1] != logits_target.shape[-1]:
            counts = f"{logits_source.shape[-1]} and {logits_target.shape[-1]}"
            raise ValueError(f"logits_source and logits_target must have the same classes, got {counts}")
        if mix is not None and tuple(mix.shape) != replicas:
            raise ValueError(f"mix must have the shape of weight, {replicas}, got {tuple(mix.shape)}")
