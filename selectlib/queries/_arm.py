from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from selectlib._checks import check_choice
from selectlib.pool import PoolSelector
from selectlib.queries._alignment import FreeEnergyAlignment
from selectlib.queries._history import History


@dataclass(frozen=True)
class Arm:
    """One way to train and to query, which a study compares with others.

    Parameters
    ----------
    strategy : PoolSelector, optional
        Which images to ask about; by default none is asked about.
    align : float, default 0.0
        Weight of the free-energy alignment, at least 0.
    bn : {"joint", "source", "target"}, default "joint"
        How the unlabelled target enters batch normalisation's running averages, which evaluation uses. "joint": its
        batches move them, also at weight 0. "source": they never do, and at weight 0 they are not even passed, as in
        the official code. "target": as "source" in training, and before each evaluation the averages are estimated
        anew on the images that are still unlabelled.
    kind : {"hinge", "l1", "mse"}, default "hinge"
        Form of the alignment, as in `FreeEnergyAlignment`.
    momentum : "uniform" or float in [0, 1), default "uniform"
        How its bound moves, as in `FreeEnergyAlignment`.

    Raises
    ------
    TypeError
        If `strategy` is no `PoolSelector`.
    ValueError
        If another argument is out of range.

    Examples
    --------
    >>> from selectlib.pool import Random
    >>> Arm(Random(), align=0.01).bn
    'joint'
    """

    strategy: PoolSelector | None = None
    align: float | int = 0.0
    bn: Literal["joint", "source", "target"] = "joint"
    kind: Literal["hinge", "l1", "mse"] = "hinge"
    momentum: Literal["uniform"] | float | int = "uniform"

    def __post_init__(self) -> None:
        if self.strategy is not None and not isinstance(self.strategy, PoolSelector):
            raise TypeError(f"strategy must have `needs` and `select`, got {type(self.strategy).__name__}")
        check_choice("bn", self.bn, ("joint", "source", "target"))
        FreeEnergyAlignment(self.align, self.kind, self.momentum)  # refuses what is out of range


@dataclass(eq=False)
class Outcome:
    """What one arm came to on one task.

    Parameters
    ----------
    history : History
        An entry before each query, and one at the end.
    source_logits : Tensor of floats, shape (n_h, c), or None
        The trained net's logits on the held-out source.
    test_logits : Tensor of floats, shape (n_t, c), or None
        The same on the held-out target.
    state : dict
        The trained net's state dict.
    """

    history: History
    source_logits: Float[Tensor, "n_h c"] | None
    test_logits: Float[Tensor, "n_t c"] | None
    state: dict[str, Tensor]

    @property
    def picks(self) -> list[Tensor]:
        """Indices into the target that each query asked for."""
        return self.history.picks
