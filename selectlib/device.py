"""Which device the work runs on."""

import platform
from pathlib import Path

import torch


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Turn a device name into a device that this machine has.

    Parameters
    ----------
    device : str or torch.device, default "auto"
        ``"auto"`` takes CUDA where there is one, else MPS, else the CPU. Any other value is what `torch.device` takes,
        such as ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Returns
    -------
    torch.device
        A device that exists here.

    Raises
    ------
    TypeError
        If `device` is neither a string nor a `torch.device`.
    ValueError
        If `device` is no device name, or names a device that this machine lacks.

    Examples
    --------
    >>> pick_device("cpu")
    device(type='cpu')
    """
    if not isinstance(device, str | torch.device):
        raise TypeError(f"device must be a string or a torch.device, got {type(device).__name__}")
    if device == "auto":
        return torch.device(_available()[0])
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be 'auto' or a device such as {_names()}, got {device!r}") from error
    if picked.type not in _available():
        raise ValueError(f"device {str(device)!r} is not available here; available: {_names()}")
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {str(device)!r} is not available here, where CUDA counts {torch.cuda.device_count()}")
    return picked


def processor_name() -> str:
    """The processor of this machine as it calls itself, or its architecture where it does not say.

    Returns
    -------
    str
        Such as ``"AMD EPYC 9654 96-Core Processor"``; on macOS and Windows what `platform.processor` says.

    Examples
    --------
    >>> processor_name() != ""
    True
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _available() -> list[str]:
    """Types of device here, the best first."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, here in found.items() if here]


def _names() -> str:
    return ", ".join(repr(name) for name in _available())
