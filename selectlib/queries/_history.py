import math
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class History:
    """What happened to one model: an entry before each query, and one at the end.

    Parameters
    ----------
    labels : list of int
        Target labels that had been asked for.
    test : list of float
        Accuracy on held-out target images, in [0, 1]; NaN where unknown, as in the next four.
    transductive : list of float
        Accuracy on all images of the target pool, those asked for included.
    rest : list of float
        Accuracy on the images of the pool that were not asked for.
    queried : list of float
        Accuracy on the images of the pool that were asked for.
    auroc : list of float
        How well free energy tells the pool's unlabelled images from held-out source images: area under the ROC curve.
    picks : list of Tensors of int64
        Indices into the pool that each query asked for, one entry a query.
    predicted : list of Tensors of int64
        The class that the model gave to each pick when it was picked, in the order of `picks`.

    Examples
    --------
    >>> history = History()
    >>> history.append(0, test=0.42)
    >>> history.append(14, test=0.61, rest=0.59)
    >>> history.labels, history.test, history.rest
    ([0, 14], [0.42, 0.61], [nan, 0.59])
    """

    labels: list[int] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    transductive: list[float] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)
    queried: list[float] = field(default_factory=list)
    auroc: list[float] = field(default_factory=list)
    picks: list[Tensor] = field(default_factory=list)
    predicted: list[Tensor] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.labels)

    def append(
        self,
        labels: int,
        *,
        test: float = math.nan,
        transductive: float = math.nan,
        rest: float = math.nan,
        queried: float = math.nan,
        auroc: float = math.nan,
    ) -> None:
        """Add one entry.

        Parameters
        ----------
        labels : int
            Target labels asked for so far, no fewer than in the entry before.
        test, transductive, rest, queried, auroc : float, default NaN
            What was measured, as in the class.

        Raises
        ------
        ValueError
            If `labels` falls, or a measure is outside [0, 1].
        """
        least = self.labels[-1] if self.labels else 0
        if labels < least:
            raise ValueError(f"labels must be at least {least}, as in the entry before, got {labels}")
        measured = {"test": test, "transductive": transductive, "rest": rest, "queried": queried, "auroc": auroc}
        for name, value in measured.items():
            if value < 0 or value > 1:
                raise ValueError(f"{name} must be from 0 to 1 or NaN, got {value}")
        self.labels.append(labels)
        for name, value in measured.items():
            getattr(self, name).append(value)
