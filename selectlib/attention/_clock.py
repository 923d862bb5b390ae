"""Time spent in the parts of a step, where it is asked for."""

import time

import torch


class Clock:
    """Seconds spent in the parts of a step. It waits for the device at each change, so it is off unless asked for."""

    def __init__(self, device: torch.device | None) -> None:
        self.device = device  # None: off
        self.seconds: dict[str, float] = {}
        self._part = ""
        self._since = 0.0

    def __call__(self, part: str) -> "Clock":
        self._part = part
        return self

    def __enter__(self) -> None:
        if self.device is not None:
            self._since = self._now()

    def __exit__(self, *error: object) -> None:
        if self.device is not None:
            self.seconds[self._part] = self.seconds.get(self._part, 0.0) + self._now() - self._since

    def _now(self) -> float:
        if self.device is not None and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
