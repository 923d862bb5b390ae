from collections.abc import Sequence

import torch
from torch import Tensor, nn

from selectlib.nets._sizes import check_sizes


class PooledConvNet(nn.Module):
    """A small convolutional network with batch normalisation, whose features are averages over a grid of the image.

    Blocks of 3 x 3 convolution, batch normalisation and ReLU, then an average over each cell of a grid. The head maps
    these features to logits. There is no bottleneck: features are never negative, and a mean of them is a prototype.

    Parameters
    ----------
    channels : int, default 1
        Channels of the images, of any height and width.
    widths : sequence of int, default (16, 32, 64)
        Channels of the blocks; each block after the first halves height and width, rounding up.
    pool : int, default 2
        Rows and columns of the grid.
    classes : int, default 10
        Number of outputs, c.

    Attributes
    ----------
    features : torch.nn.Sequential
        Maps images, shape (b, channels, height, width), to features, shape (b, d) with ``d = widths[-1] * pool**2``.
    head : torch.nn.Linear
        Maps features to logits, shape (b, c).

    Raises
    ------
    TypeError
        If a size is not an int.
    ValueError
        If a size is below 1, or no block is asked for.

    Notes
    -----
    In training mode a batch is normalised by its own mean and variance and moves the running averages that evaluation
    mode uses. The convolutions have no bias: the normalisation would cancel it. Their weights lie channels last, and so
    do the activations then: on a CPU a step of training takes three quarters of the time. The defaults have 25,978
    parameters.

    Examples
    --------
    >>> import torch
    >>> net = PooledConvNet()
    >>> images = torch.rand(5, 1, 16, 16)
    >>> net.features(images).shape, net(images).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([5, 256]), torch.Size([5, 10]), 25978)
    """

    def __init__(self, channels: int = 1, widths: Sequence[int] = (16, 32, 64), pool: int = 2, classes: int = 10):
        super().__init__()
        check_sizes(channels=channels, pool=pool, classes=classes)
        if not widths:
            raise ValueError("widths must name at least one block, got none")
        check_sizes(**{f"widths[{i}]": w for i, w in enumerate(widths)})
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip([channels, *widths[:-1]], widths, strict=True)):
            convolution = nn.Conv2d(before, after, 3, stride=1 if i == 0 else 2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(pool), nn.Flatten())
        self.head = nn.Linear(widths[-1] * pool**2, classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def forward(self, inputs: Tensor) -> Tensor:
        """Map images, shape (b, channels, height, width), to logits, shape (b, c)."""
        return self.head(self.features(inputs))
