"""The strategies by name, for parameters of notebooks and command lines."""

from typing import Any

from selectlib.pool import PoolSelector, Random
from selectlib.queries._badge import BADGE
from selectlib.queries._clue import CLUE
from selectlib.queries._coreset import CoreSet
from selectlib.queries._eada import EADA
from selectlib.queries._scores import Entropy, FreeEnergy, LeastConfidence, Margin, MvSM

_STRATEGIES: dict[str, type[PoolSelector]] = {
    "random": Random,
    "entropy": Entropy,
    "least_confidence": LeastConfidence,
    "margin": Margin,
    "mvsm": MvSM,
    "free_energy": FreeEnergy,
    "eada": EADA,
    "core_set": CoreSet,
    "badge": BADGE,
    "clue": CLUE,
}


def get_strategy(name: str, **options: Any) -> PoolSelector:
    """Make a query strategy by its name.

    Parameters
    ----------
    name : str
        One of `list_strategies`.
    **options
        Parameters of the strategy's class.

    Returns
    -------
    PoolSelector
        A new strategy.

    Raises
    ------
    TypeError
        If the strategy has no such option.
    ValueError
        If there is no strategy of that name, or an option's value is not allowed.

    Examples
    --------
    >>> get_strategy("eada", alpha1=0.3).alpha1
    0.3
    >>> get_strategy("oracle")
    Traceback (most recent call last):
    ...
    ValueError: name must be one of random, entropy, ..., badge, clue, got 'oracle'
    """
    if name not in _STRATEGIES:
        raise ValueError(f"name must be one of {', '.join(_STRATEGIES)}, got {name!r}")
    return _STRATEGIES[name](**options)


def list_strategies() -> list[str]:
    """Name the query strategies that `get_strategy` makes.

    Returns
    -------
    list of str
        `selectlib.pool.Random` first, then the strategies of this room.

    Examples
    --------
    >>> list_strategies()[:3]
    ['random', 'entropy', 'least_confidence']
    """
    return list(_STRATEGIES)
