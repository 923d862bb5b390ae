"""What every case of a benchmark needs to know, and the table that it leaves."""

from dataclasses import dataclass

import numpy as np
import torch
from _harness import Contestant, race
from _record import number

SEED = 100  # of the first repeat


@dataclass(frozen=True)
class Setting:
    """What every case needs to know."""

    device: torch.device
    quick: bool
    threads: int
    peaks: dict[str, float]

    def race(self, contestants: list[Contestant], title: str) -> dict[str, dict]:
        return race(contestants, seed=SEED, device=self.device, title=title)

    def repeats(self, usual: int) -> int:
        return 2 if self.quick else usual

    def floor(self, nbytes: float, flops: float, row: dict) -> dict[str, float]:
        """Least seconds for moving these bytes and doing these operations, and the median's distance to it."""
        seconds = max(nbytes / self.peaks["gbytes_per_second"], flops / self.peaks["gflops_float32"]) / 1e9
        distance = float(np.median(row["seconds"])) / seconds
        return {"bytes": nbytes, "flops": flops, "seconds": seconds, "distance": distance}


def part(heading: str, rows: dict[str, dict], floor: dict[str, float] | None = None, **about) -> dict:
    """One table, with a remark on the floor of its first row."""
    made = {"heading": heading, "rows": rows, **about}
    if floor:
        first = next(iter(rows.values()))["label"]
        made |= {"floor": floor, "remarks": [floor_remark(first, floor)]}
    return made


def floor_remark(label: str, floor: dict[str, float]) -> str:
    return (
        f"Floor of {label}: {number(1e3 * floor['seconds'])} ms ({number(floor['bytes'] / 1e6)} MB to read, "
        f"{floor['flops'] / 1e9:.3g} GFLOP); its median is {number(floor['distance'])} times that."
    )
