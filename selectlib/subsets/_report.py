"""What a sampler did: how many items it looked at, how many sets it proposed, where the time went."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class SamplingReport:
    """Account of a sampler since `fit`.

    Attributes
    ----------
    method : str
        "direct", "alpha", "spectral" or "mcmc".
    n : int
        Number of items of the source.
    looks : int
        Distinct items fetched, those of the dictionary and of rejected proposals included.
    dictionary_looks : int
        Those of them that `fit` made.
    landmarks : int
        Items that span the estimate of the covariance; 0 for the dense methods.
    proposals : int
        Intermediate sets proposed.
    accepted : int
        Intermediate sets accepted.
    samples : int
        Samples returned.
    alpha_path : list of float
        Values of α in the order in which they were used (method "alpha").
    seconds : dict
        Wall time by phase: "dictionary", "looking" (drawing items, fetching them, their scores), "deciding" (accept or
        reject), "drawing" (the sample from an accepted set).
    """

    method: str
    n: int
    looks: int = 0
    dictionary_looks: int = 0
    landmarks: int = 0
    proposals: int = 0
    accepted: int = 0
    samples: int = 0
    alpha_path: list[float] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def fraction_looked(self) -> float:
        """Distinct items fetched, as a share of n."""
        return self.looks / self.n

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the time spent inside to `seconds[phase]`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start
