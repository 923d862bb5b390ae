from collections.abc import Sequence

from torch import Tensor, nn

from selectlib.nets._sizes import check_sizes


class ConvNet(nn.Sequential):
    """Blocks of 3 x 3 convolution, ReLU and 2 x 2 max pooling, then two linear layers.

    Parameters
    ----------
    image : tuple of int, default (1, 28, 28)
        Channels, height and width of the images; height and width at least 2 for each halving.
    widths : sequence of int, default (32, 64)
        Channels of the blocks; each block halves height and width, rounding down.
    hidden : int, default 384
        Units of the hidden linear layer.
    classes : int, default 10
        Number of outputs.

    Raises
    ------
    TypeError
        If a size is not an int.
    ValueError
        If a size is below 1, no block is asked for, or nothing of the image is left after the blocks.

    Notes
    -----
    No batch normalisation: the output of an example does not depend on the others of its batch. The defaults have
    1,227,274 parameters.

    Examples
    --------
    >>> import torch
    >>> net = ConvNet()
    >>> net(torch.zeros(5, 1, 28, 28)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([5, 10]), 1227274)
    """

    def __init__(
        self,
        image: tuple[int, int, int] = (1, 28, 28),
        widths: Sequence[int] = (32, 64),
        hidden: int = 384,
        classes: int = 10,
    ):
        channels, height, width = image
        check_sizes(channels=channels, height=height, width=width, hidden=hidden, classes=classes)
        if not widths:
            raise ValueError("widths must name at least one block, got none")
        check_sizes(**{f"widths[{i}]": w for i, w in enumerate(widths)})
        shrink = 2 ** len(widths)
        if height < shrink or width < shrink:
            raise ValueError(
                f"{len(widths)} blocks need images of at least {shrink} x {shrink}, got {height} x {width}"
            )
        layers: list[nn.Module] = []
        for before, after in zip([channels, *widths[:-1]], widths, strict=True):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        flat = widths[-1] * (height // shrink) * (width // shrink)
        layers += [nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, classes)]
        super().__init__(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map images, shape (b, channels, height, width), to logits, shape (b, classes)."""
        return super().forward(inputs)
