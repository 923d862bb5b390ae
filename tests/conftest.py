"""What all tests share: CUDA tests need a device, peer tests their packages, and nothing else is ever left out."""

import importlib.util

import torch


def pytest_collection_modifyitems(config, items):
    """Deselect, and say so in the summary line, what this machine cannot run."""
    missing = {mark for mark, there in {"cuda": torch.cuda.is_available(), "peer": has_peer()}.items() if not there}
    left_out = [item for item in items if any(item.get_closest_marker(mark) for mark in missing)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def has_peer() -> bool:
    return importlib.util.find_spec("dppy") is not None
