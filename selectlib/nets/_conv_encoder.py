from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from selectlib.nets._sizes import check_sizes


class ConvEncoder(nn.Sequential):
    """A small convolutional network from images to features, without normalisation and without a head.

    Blocks of 3 x 3 convolution and ReLU, with 2 x 2 max pooling after the first and after the last, then one linear
    layer to the features.

    Parameters
    ----------
    image : tuple of int, default (1, 8, 16)
        Channels, height and width of the images; height and width at least 4, or 2 for one block.
    widths : sequence of int, default (16, 32, 32)
        Channels of the blocks.
    features : int, default 64
        Number of features, d.

    Raises
    ------
    TypeError
        If a size is not an int.
    ValueError
        If a size is below 1, no block is asked for, or nothing of the image is left after the pooling.

    Notes
    -----
    The features of an image do not depend on the others of its batch, in training mode either. The convolutions'
    weights lie channels last. The defaults have 30,496 parameters.

    Examples
    --------
    >>> import torch
    >>> net = ConvEncoder()
    >>> net(torch.zeros(5, 1, 8, 16)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([5, 64]), 30496)
    """

    def __init__(
        self, image: tuple[int, int, int] = (1, 8, 16), widths: Sequence[int] = (16, 32, 32), features: int = 64
    ):
        channels, height, width = image
        check_sizes(channels=channels, height=height, width=width, features=features)
        if not widths:
            raise ValueError("widths must name at least one block, got none")
        check_sizes(**{f"widths[{i}]": w for i, w in enumerate(widths)})
        pooled = {0, len(widths) - 1}
        shrink = 2 ** len(pooled)
        if height < shrink or width < shrink:
            raise ValueError(f"image must be at least {shrink} x {shrink} pixels, got {height} x {width}")
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip([channels, *widths[:-1]], widths, strict=True)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if i in pooled else []
        flat = widths[-1] * (height // shrink) * (width // shrink)
        super().__init__(*layers, nn.Flatten(), nn.Linear(flat, features))
        convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map images, shape (b, channels, height, width), to features, shape (b, d)."""
        return super().forward(inputs)
