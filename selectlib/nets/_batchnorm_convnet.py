from collections.abc import Sequence

from torch import Tensor, nn

from selectlib.nets._sizes import check_sizes


class BatchNormConvNet(nn.Module):
    """A small convolutional network with batch normalisation throughout, split into features and a linear head.

    Blocks of 3 x 3 convolution, batch normalisation and ReLU, then the bottleneck: a linear layer to `hidden`
    features and a batch normalisation without scale and offset. The head maps the features to logits.

    Parameters
    ----------
    image : tuple of int, default (1, 8, 8)
        Channels, height and width of the images.
    widths : sequence of int, default (8, 16)
        Channels of the blocks; each block after the first halves height and width, rounding up.
    hidden : int, default 32
        Number of features, d.
    classes : int, default 10
        Number of outputs, c.

    Attributes
    ----------
    features : torch.nn.Sequential
        Maps images, shape (b, channels, height, width), to features, shape (b, d).
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
    In training mode a batch is normalised by its own mean and variance, so that it needs at least 2 images, and moves
    the running averages that evaluation mode uses. Layers before a normalisation have no bias: it would cancel. The
    defaults have 9,794 parameters. The bottleneck is that of Xie et al. (2022), whose official code leaves its scale
    and offset at 1 and 0.

    Examples
    --------
    >>> import torch
    >>> net = BatchNormConvNet()
    >>> images = torch.rand(5, 1, 8, 8)
    >>> net.features(images).shape, net(images).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([5, 32]), torch.Size([5, 10]), 9794)
    """

    def __init__(
        self,
        image: tuple[int, int, int] = (1, 8, 8),
        widths: Sequence[int] = (8, 16),
        hidden: int = 32,
        classes: int = 10,
    ):
        super().__init__()
        channels, height, width = image
        check_sizes(channels=channels, height=height, width=width, hidden=hidden, classes=classes)
        if not widths:
            raise ValueError("widths must name at least one block, got none")
        check_sizes(**{f"widths[{i}]": w for i, w in enumerate(widths)})
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip([channels, *widths[:-1]], widths, strict=True)):
            convolution = nn.Conv2d(before, after, 3, stride=1 if i == 0 else 2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        shrink = 2 ** (len(widths) - 1)
        flat = widths[-1] * -(-height // shrink) * -(-width // shrink)
        layers += [nn.Flatten(), nn.Linear(flat, hidden, bias=False), nn.BatchNorm1d(hidden, affine=False)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(hidden, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map images, shape (b, channels, height, width), to logits, shape (b, c)."""
        return self.head(self.features(inputs))
