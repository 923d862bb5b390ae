"""What the tests of the training loop share: tasks of a few small images, and nets of a few weights."""

import torch

from selectlib.nets import BatchNormConvNet
from selectlib.queries import AdaptationTask, LabelOracle
from selectlib.seeding import generator

CLASSES, N_SOURCE, N_TARGET = 3, 12, 20


def make_net():
    """A net in double precision, so that another order of summation does not show."""
    return BatchNormConvNet((1, 4, 4), widths=(2, 3), hidden=4, classes=CLASSES).double()


def make_task(seed=100, device="cpu", *, budget=8, shift=0.5, held_out=True):
    """Images whose brightness tells their class; the target's are brighter by `shift`."""
    draws = generator(seed)

    def images(n, offset):
        labels = torch.randint(CLASSES, (n,), generator=draws)
        noise = torch.randn(n, 1, 4, 4, generator=draws, dtype=torch.float64)
        return (noise + labels.view(-1, 1, 1, 1) + offset).to(device), labels.to(device)

    source, target = images(N_SOURCE, 0.0), images(N_TARGET, shift)
    held = {"source_test": images(9, 0.0), "test": images(10, shift)} if held_out else {}
    return AdaptationTask(source, target[0], LabelOracle(target[1], budget=budget), **held)
