"""Tensors for tests of Lion's step, and the reference on a list of them."""

import torch

from selectlib.kernels._lion_reference import lion_step_reference
from selectlib.seeding import generator


def lists(dtypes, sizes, device="cpu", seed=0):
    """Weights, gradients and momenta of these sizes: of all magnitudes, and some 0."""
    g = generator(seed)

    def draw(size, dtype):
        values = torch.randn(size, generator=g) * 10.0 ** torch.randint(-3, 2, (size,), generator=g)
        return (values * (torch.rand(size, generator=g) > 0.05)).to(dtype).to(device)

    return [[draw(size, dtype) for size in sizes] for dtype in dtypes]


def reference(params, grads, exp_avgs, rule):
    for position, tensors in enumerate(zip(params, grads, exp_avgs, strict=True)):
        lion_step_reference(*tensors, position, rule)
