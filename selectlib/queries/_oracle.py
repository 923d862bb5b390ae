import math
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from selectlib._checks import check_int

_INTS = (torch.int8, torch.int16, torch.int32, torch.int64)


class Grades(NamedTuple):
    """Accuracies on the target's images, as `LabelOracle.grade` gives them; NaN where there are none.

    Parameters
    ----------
    transductive
        Accuracy on all images, in [0, 1]. It counts those whose labels were asked for, which a network learns by heart.
    rest
        Accuracy on the images whose labels were not asked for.
    queried
        Accuracy on the images whose labels were asked for.
    """

    transductive: float
    rest: float
    queried: float


class LabelOracle:
    """The only door to the labels of the target: it counts what is asked, and refuses more than the budget.

    Parameters
    ----------
    labels : Tensor of ints, shape (n,)
        The label of each target image; copied, and not to be had except by `query`.
    budget : int
        How many labels may be asked for in all, from 0 to n.

    Raises
    ------
    TypeError
        If `labels` is no tensor of ints or `budget` not an int.
    ValueError
        If `labels` is empty or not 1-D, or `budget` out of range.

    Notes
    -----
    Time O(b) a query of b labels, memory O(n).

    Examples
    --------
    >>> import torch
    >>> oracle = LabelOracle(torch.tensor([7, 3, 3, 9]), budget=2)
    >>> oracle.query(torch.tensor([3, 0])), oracle.spent, oracle.remaining
    (tensor([9, 7]), 2, 0)
    >>> oracle.query(torch.tensor([1]))
    Traceback (most recent call last):
    ...
    ValueError: idx asks for 1 label, but 0 of the budget of 2 remain
    """

    def __init__(self, labels: Int[Tensor, "n"], budget: int):
        if not isinstance(labels, Tensor) or labels.dtype not in _INTS:
            given = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
            raise TypeError(f"labels must be a tensor of ints, got {given}")
        if labels.ndim != 1 or len(labels) == 0:
            raise ValueError(f"labels must be 1-D and hold at least 1 label, got shape {tuple(labels.shape)}")
        self.__labels = labels.to(torch.int64, copy=True)
        self._budget = check_int("budget", budget, 0, len(labels))
        self._queried = torch.empty(0, dtype=torch.int64, device=labels.device)

    def __len__(self) -> int:
        """Return the number of target images, n."""
        return len(self.__labels)

    def __repr__(self) -> str:
        return f"LabelOracle({len(self)} images, {self.spent} of {self.budget} labels spent)"

    @property
    def budget(self) -> int:
        """How many labels may be asked for in all."""
        return self._budget

    @property
    def spent(self) -> int:
        """How many labels have been asked for."""
        return len(self._queried)

    @property
    def remaining(self) -> int:
        """How many labels may still be asked for."""
        return self.budget - self.spent

    @property
    def queried(self) -> Int[Tensor, "spent"]:
        """Indices of the images whose labels have been asked for, in that order; a copy."""
        return self._queried.clone()

    def query(self, idx: Int[Tensor, "b"]) -> Int[Tensor, "b"]:
        """Ask for the labels of some images, each for the first time; when an error is raised nothing is spent.

        Parameters
        ----------
        idx : Tensor of int64, shape (b,)
            Distinct indices from 0 to n - 1; may be empty.

        Returns
        -------
        Tensor of int64, shape (b,)
            Their labels, on the device of `idx`.

        Raises
        ------
        TypeError
            If `idx` is no tensor of int64.
        ValueError
            If `idx` is not 1-D, out of range, repeats an index or one asked for before, or exceeds the budget.
        """
        asked = self._checked(idx, self._queried)
        if len(asked) > self.remaining:
            labels = "1 label" if len(asked) == 1 else f"{len(asked)} labels"
            raise ValueError(f"idx asks for {labels}, but {self.remaining} of the budget of {self.budget} remain")
        self._queried = torch.cat([self._queried, asked])
        return self.__labels[asked].to(idx.device)

    def fresh(self, budget: int | None = None) -> "LabelOracle":
        """Return an oracle for the same labels, of which nothing is spent.

        Parameters
        ----------
        budget : int, optional
            How many labels may be asked for in all, from 0 to n; by default as here.

        Returns
        -------
        LabelOracle
            Independent of this one.
        """
        return LabelOracle(self.__labels, self.budget if budget is None else budget)

    def grade(self, predictions: Int[Tensor, "n"]) -> Grades:
        """Compute a model's accuracies on the target, for the report on an experiment.

        Parameters
        ----------
        predictions : Tensor of ints, shape (n,)
            The predicted class of every image.

        Returns
        -------
        Grades
            Of all images, of those not asked for, and of those asked for. A learner must not see them: they tell what
            the labels are.

        Raises
        ------
        TypeError
            If `predictions` is no tensor of ints.
        ValueError
            If it has another shape than (n,).
        """
        if not isinstance(predictions, Tensor) or predictions.dtype not in _INTS:
            given = predictions.dtype if isinstance(predictions, Tensor) else type(predictions).__name__
            raise TypeError(f"predictions must be a tensor of ints, got {given}")
        if predictions.shape != self.__labels.shape:
            raise ValueError(f"predictions must have shape ({len(self)},), got {tuple(predictions.shape)}")
        right = predictions.to(self.__labels.device) == self.__labels
        rest = torch.ones_like(right)
        rest[self._queried] = False
        return Grades(*(_share(right[rows]) for rows in (slice(None), rest, self._queried)))

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs: the indices asked for, and no label."""
        return {"queried": self.queried}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up the state of another oracle for the same labels.

        Parameters
        ----------
        state : dict
            As from `state_dict`.

        Raises
        ------
        TypeError
            If ``state["queried"]`` is no tensor of int64.
        ValueError
            If it is not 1-D, out of range, repeats an index, or exceeds the budget.
        """
        queried = self._checked(state["queried"], self._queried[:0])
        if len(queried) > self.budget:
            raise ValueError(f"state holds {len(queried)} queries, but the budget is {self.budget}")
        self._queried = queried.clone()

    def _checked(self, idx: Tensor, earlier: Tensor) -> Tensor:
        """Indices on the labels' device, all of them new."""
        if not isinstance(idx, Tensor) or idx.dtype != torch.int64:
            given = idx.dtype if isinstance(idx, Tensor) else type(idx).__name__
            raise TypeError(f"idx must be a tensor of int64, got {given}")
        if idx.ndim != 1:
            raise ValueError(f"idx must be 1-D, got shape {tuple(idx.shape)}")
        asked = idx.to(self.__labels.device)
        outside = asked[(asked < 0) | (asked >= len(self))]
        if len(outside):
            raise ValueError(f"idx must hold indices from 0 to {len(self) - 1}, got {int(outside[0])}")
        distinct, times = torch.unique(torch.cat([earlier, asked]), return_counts=True)
        if len(repeated := distinct[times > 1]):
            raise ValueError(f"idx must name each image once in all, but {int(repeated[0])} comes again")
        return asked


def _share(right: Tensor) -> float:
    """Share of true entries, to the last bit on every device; NaN of none."""
    return int(right.sum()) / len(right) if len(right) else math.nan
