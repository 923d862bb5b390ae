from torch import Tensor, nn

from selectlib.nets._sizes import check_sizes


class ResNet9(nn.Sequential):
    """A residual network of eight convolutions and a linear layer, for images of 32 x 32 pixels and the like.

    Parameters
    ----------
    width : int, default 64
        Channels of the first convolution; later ones have 2, 4 and 8 times as many.
    classes : int, default 10
        Number of outputs.
    channels : int, default 3
        Channels of the images.

    Raises
    ------
    TypeError
        If a size is not an int.
    ValueError
        If a size is below 1.

    Notes
    -----
    Convolutions are followed by batch normalisation: call ``eval()`` before taking the outputs or gradients of single
    examples. Height and width of the images must be at least 8. The defaults have 6,573,130 parameters. Source: the
    ResNet-9 that became common with the DAWNBench entries on CIFAR-10 (Page, 2018).

    Examples
    --------
    >>> import torch
    >>> net = ResNet9()
    >>> net(torch.zeros(5, 3, 32, 32)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([5, 10]), 6573130)
    """

    def __init__(self, width: int = 64, classes: int = 10, channels: int = 3):
        check_sizes(width=width, classes=classes, channels=channels)
        super().__init__(
            _convolution(channels, width),
            _convolution(width, 2 * width),
            nn.MaxPool2d(2),
            _Residual(2 * width),
            _convolution(2 * width, 4 * width),
            nn.MaxPool2d(2),
            _convolution(4 * width, 8 * width),
            nn.MaxPool2d(2),
            _Residual(8 * width),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(8 * width, classes),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Map images, shape (b, channels, height, width), to logits, shape (b, classes)."""
        return super().forward(inputs)


class _Residual(nn.Module):
    """Two convolutions, and their input added to what they give."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(_convolution(width, width), _convolution(width, width))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.body(inputs)


def _convolution(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
