from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from selectlib._checks import check_choice


@dataclass(frozen=True)
class SupportResult:
    """How one adaptation with one support set went; made by `compare_support`.

    Parameters
    ----------
    selector, adapter, backbone : str
        Names of who chose, of how the model was adapted, and of the model it started from.
    shots : int
        K: the budget was K labels a class, K c in all.
    task, draw : int
        Numbers of the task and of the draw, from 0.
    held_out : float
        Accuracy on the held-out images [%].
    transductive : float
        Accuracy on the images of the pool that were not chosen [%].
    missing_classes : int
        Classes of which no image was chosen.
    """

    selector: str
    adapter: str
    backbone: str
    shots: int
    task: int
    draw: int
    held_out: float
    transductive: float
    missing_classes: int


@dataclass(frozen=True, eq=False)
class SupportComparison:
    """Results of selectors on the same tasks at the same budgets; made by `compare_support`.

    Parameters
    ----------
    rows : sequence of SupportResults
        One for each combination.

    Examples
    --------
    >>> row = {"adapter": "linear", "backbone": "adapted", "shots": 1, "transductive": 70.0, "missing_classes": 2}
    >>> rows = [SupportResult("random", task=0, draw=d, held_out=h, **row) for d, h in enumerate([60.0, 70.0])]
    >>> study = SupportComparison(rows)
    >>> study.accuracy("random", "linear", 1), study.missing_classes("random", 1)
    (array([65.]), array([2.]))
    """

    rows: Sequence[SupportResult]

    def accuracy(
        self,
        selector: str,
        adapter: str,
        shots: int,
        *,
        backbone: str = "adapted",
        where: Literal["held_out", "transductive"] = "held_out",
    ) -> Float[np.ndarray, "t"]:
        """Accuracy of each task, the mean over its draws: differences of two such arrays are paired.

        Parameters
        ----------
        selector, adapter : str
            Their names.
        shots : int
            Labels a class, K.
        backbone : str, default "adapted"
            The model that was adapted.
        where : {"held_out", "transductive"}, default "held_out"
            On the held-out images, or on those of the pool that were not chosen. The latter differ from selector to
            selector.

        Returns
        -------
        numpy.ndarray of float64, shape (t,)
            In the order of the tasks [%].

        Raises
        ------
        ValueError
            If there are no such results.
        """
        check_choice("where", where, ("held_out", "transductive"))
        return self._means(where, selector=selector, adapter=adapter, shots=shots, backbone=backbone)

    def missing_classes(self, selector: str, shots: int) -> Float[np.ndarray, "t"]:
        """Number of classes without a chosen image for each task, the mean over its draws.

        Parameters
        ----------
        selector : str
            Its name.
        shots : int
            Labels a class, K.

        Returns
        -------
        numpy.ndarray of float64, shape (t,)
            In the order of the tasks.

        Raises
        ------
        ValueError
            If there are no such results.
        """
        return self._means("missing_classes", selector=selector, shots=shots)

    def _means(self, field: str, **wanted: str | int) -> np.ndarray:
        """Mean over the rows of each task that are as wanted."""
        rows = self.rows
        for name, value in wanted.items():
            there = {getattr(row, name): None for row in rows}  # in their order
            rows = [row for row in rows if getattr(row, name) == value]
            if not rows:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, there))}, got {value!r}")
        values: dict[int, list[float]] = {}
        for row in rows:
            values.setdefault(row.task, []).append(getattr(row, field))
        return np.array([np.mean(values[task]) for task in sorted(values)])
