"""An empty torchvision for easyfsl, where the real one does not load. Import this module before easyfsl.

The package index has torchvision for CUDA builds of torch; beside a CPU build its import fails.
"""

import sys
from types import ModuleType

REMARK = ""  # what readers should know of it
NEEDED = ("", ".datasets", ".models", ".models.resnet", ".transforms", ".utils")


class Empty(ModuleType):
    """A package in which every name is a class of nothing."""

    def __init__(self, name: str):
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


try:
    import torchvision  # noqa: F401
except (ImportError, RuntimeError):
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # what was half imported
    sys.modules |= {f"torchvision{part}": Empty(f"torchvision{part}") for part in NEEDED}
    REMARK = (
        " easyfsl imports torchvision for its image networks. That does not load beside this build of torch, so an "
        "empty stand-in took its place; nothing that is timed calls it."
    )
