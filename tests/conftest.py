"""What all tests share: CUDA tests need a device, and nothing else is ever left out."""

import torch


def pytest_collection_modifyitems(config, items):
    """Deselect the CUDA tests where there is no device; the summary line counts them."""
    left_out = [] if torch.cuda.is_available() else [item for item in items if item.get_closest_marker("cuda")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
