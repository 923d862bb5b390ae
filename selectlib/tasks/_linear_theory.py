"""Closed forms of multitask finetuning where the encoder and the heads are linear."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selectlib._checks import check_int, check_positive


@dataclass(frozen=True)
class LinearTaskTheory:
    """What finetuning on all tasks of k features gives, from `linear_task_theory`.

    Parameters
    ----------
    k : int
        Features that the finetuning tasks encode.
    d : int
        Features of the inputs.
    """

    k: int
    d: int

    @property
    def gram(self) -> Float[Tensor, "d d"]:
        """``φᵀφ`` of the best encoder for the finetuning tasks, whose features come first; float64."""
        gram = torch.zeros(self.d, self.d, dtype=torch.float64)
        gram[: self.k, : self.k] = (torch.eye(self.k, dtype=torch.float64) - 1 / self.k) / (self.k - 1)
        return gram

    @property
    def average_loss(self) -> float:
        """The least loss, averaged over the finetuning tasks."""
        return -math.sqrt(2 / (self.k - 1))

    def kappa(self, r: int = 1) -> float:
        """How far the finetuned encoder is from the best one on the worst of r tasks, one for each of r features of F.

        Parameters
        ----------
        r : int, default 1
            Features of the target, from 1 to `k`, all among those of the finetuning tasks.

        Returns
        -------
        float
            ``1/√r - 1/√k``, which is 0 at ``r = k``.
        """
        return 1 / math.sqrt(check_int("r", r, 1, self.k)) - 1 / math.sqrt(self.k)

    def kappa_uncovered(self, r: int = 1) -> float:
        """The same where one of the r features is not among those of the finetuning tasks: nothing is learnt of it.

        Parameters
        ----------
        r : int, default 1
            Features of the target, from 1 to `d`.

        Returns
        -------
        float
            ``1/√r``.
        """
        return 1 / math.sqrt(check_int("r", r, 1, self.d))

    def kappa_untuned(self, r: int = 1) -> float:
        """The same for the encoder ``I/√d``, which treats all features alike.

        Parameters
        ----------
        r : int, default 1
            Features of the target, from 1 to `d`.

        Returns
        -------
        float
            ``1/√r - 1/√d``: finetuning on tasks that cover the target helps if and only if k is below d.
        """
        return 1 / math.sqrt(check_int("r", r, 1, self.d)) - 1 / math.sqrt(self.d)

    def average_gap(self, g: float) -> float:
        """By how much the average loss exceeds its least value, at best, for an encoder with ``‖φ e_t‖² = g``.

        Parameters
        ----------
        g : float
            Weight on one feature t of the finetuning tasks, from 0 to 1. At 1/k the gap is 0.

        Returns
        -------
        float
            The gap, at least 0.

        Raises
        ------
        ValueError
            If `g` is outside [0, 1].

        Notes
        -----
        By symmetry the best such encoder treats the other k - 1 features alike, which leaves one number to maximise
        over, of a concave function.
        """
        if not 0 <= g <= 1:
            raise ValueError(f"g must be from 0 to 1, got {g}")
        return float(self._gaps(np.array([g], dtype=float))[0])

    def frontier(self, nu: float) -> float:
        """The least κ for which the tasks are ν-diverse up to κ, for a target of one feature that they cover.

        Parameters
        ----------
        nu : float
            The share ν of the excess that diversity promises to pass on, above 0.

        Returns
        -------
        float
            The largest ``1 - √g - average_gap(g)/ν`` over g from 0 to 1; it tends to `kappa` as ν tends to 0.

        Notes
        -----
        The literal ν, with κ left as it is, is 0 here: at the optimum the average loss is stationary, and the loss of
        the target is not. On a grid that is narrowed four times; the last is finer than the rounding of the values.
        """
        check_positive("nu", nu)
        low, high = 0.0, 1.0
        for _ in range(4):
            root = np.linspace(low, high, 201)
            values = 1 - root - self._gaps(root * root) / nu
            best = int(values.argmax())
            low, high = root[max(best - 1, 0)], root[min(best + 1, 200)]
        return float(values[best])

    def _gaps(self, g: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """`average_gap` of many: golden-section search in α, half the squared distance of two other features."""
        k = self.k
        s = (1 - g) / (k - 1)

        def gain(alpha: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
            spread = np.maximum(alpha + (k - 1) * (s - alpha), 0)
            to_t = np.sqrt(g + s + 2 * np.sqrt(g * spread / (k - 1)))
            return 2 / k * to_t + (1 - 2 / k) * np.sqrt(2 * alpha)

        low, high = np.zeros_like(g), s * (k - 1) / max(k - 2, 1)
        ratio = (math.sqrt(5) - 1) / 2
        for _ in range(60):
            left, right = high - ratio * (high - low), low + ratio * (high - low)
            up = gain(left) < gain(right)
            low, high = np.where(up, left, low), np.where(up, high, right)
        return np.maximum(math.sqrt(2 / (k - 1)) - gain((low + high) / 2), 0)


def linear_task_theory(k: int, d: int) -> LinearTaskTheory:
    """Closed forms for the linear case: what finetuning on many tasks leaves to be desired on a target task.

    A class is a vector z of d latent features. The finetuning classes set k features F to 1 and flip the sign of one of
    them; a task is a pair of classes. Encoders are matrices φ of Frobenius norm 1 at most, heads are vectors of norm 1
    at most, and the loss is minus the label times the output, so that a task costs ``-‖φ(z - z')‖/2``, as
    `linear_task_loss` computes. A target of r features is a set of r tasks, in each of which the classes differ in one
    of these features alone; its loss is that of the worst.

    Parameters
    ----------
    k : int
        Features that the finetuning tasks encode, at least 2.
    d : int
        Features of the inputs, at least `k`.

    Returns
    -------
    LinearTaskTheory
        Its fields and methods give the best encoder's Gram matrix, its loss, and the consistency κ of targets.

    Raises
    ------
    TypeError
        If an argument is not an int.
    ValueError
        If it is out of range.

    Notes
    -----
    The setting, a linear case of latent classes, is that of Xu et al. (ICLR 2024); the formulas were derived for this
    library, and are tested against a numerical optimum. The paper's body was not read: its own constants may differ.

    Examples
    --------
    >>> theory = linear_task_theory(k=4, d=16)
    >>> theory.kappa(), theory.kappa(4), theory.kappa_uncovered(), theory.kappa_untuned()
    (0.5, 0.0, 1.0, 0.75)
    >>> round(theory.average_loss, 4), round(theory.gram[0, 0].item(), 4)
    (-0.8165, 0.25)
    >>> round(linear_task_theory(8, 8).frontier(0.1 / 7), 4)
    0.67
    """
    check_int("k", k, 2)
    check_int("d", d, k)
    return LinearTaskTheory(k, d)
