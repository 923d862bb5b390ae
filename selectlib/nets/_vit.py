import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selectlib.nets._attention import Attention
from selectlib.nets._sizes import check_sizes


class VisionTransformer(nn.Module):
    """A small vision transformer: patches, learned positions, blocks with LayerNorm in front, an average over tokens.

    Parameters
    ----------
    image_size : int, default 8
        Height and width of the images [pixels], a multiple of `patch`.
    patch : int, default 2
        Height and width of a patch [pixels]; each patch is a token.
    channels : int, default 1
        Channels of the images.
    width : int, default 32
        Width of the residual stream, a multiple of `heads`.
    heads : int, default 4
        Attention heads.
    layers : int, default 2
        Blocks of attention and a two-layer perceptron four times as wide.
    classes : int, default 10
        Number of outputs, c.

    Attributes
    ----------
    features : torch.nn.Sequential
        Maps images, shape (b, channels, image_size, image_size), to averages over the tokens, shape (b, width).
    head : torch.nn.Linear
        Maps features to logits, shape (b, c). It starts at zero, so that all classes are equally likely then.

    Raises
    ------
    TypeError
        If a size is not an int.
    ValueError
        If a size is below 1, `image_size` is not a multiple of `patch` or `width` not one of `heads`, or images of
        another shape come in.

    Notes
    -----
    Attention is written out as products and a softmax and has no biases: fused attention has no rule for
    `torch.func.vmap`, with which `train` runs replicas side by side. There is no dropout and no class token. Positions
    start as spread out as embedded patches of standardised images, so that the average over tokens can tell where a
    patch lay from the first step on. Time
    O(t layers width (12 width + 2 t)) an image of ``t = (image_size / patch)**2`` tokens. The architecture is that of
    Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021, with an average in place of the class token; their
    ViT-S/16 for ImageNet is ``VisionTransformer(224, 16, 3, 384, 6, 12, 1000)``. The defaults, for the 8 x 8 digits of
    `load_digits`, have 26,218 parameters.

    Examples
    --------
    >>> import torch
    >>> net = VisionTransformer()
    >>> images = torch.rand(5, 1, 8, 8)
    >>> net.features(images).shape, net(images).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([5, 32]), torch.Size([5, 10]), 26218)
    """

    def __init__(
        self,
        image_size: int = 8,
        patch: int = 2,
        channels: int = 1,
        width: int = 32,
        heads: int = 4,
        layers: int = 2,
        classes: int = 10,
    ):
        super().__init__()
        check_sizes(image_size=image_size, patch=patch, channels=channels, width=width, heads=heads)
        check_sizes(layers=layers, classes=classes)
        if image_size % patch:
            raise ValueError(f"image_size must be a multiple of patch, got image_size={image_size} and patch={patch}")
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got width={width} and heads={heads}")
        blocks = (_Block(width, heads) for _ in range(layers))
        self.features = nn.Sequential(
            _Patches(image_size, patch, channels, width), *blocks, nn.LayerNorm(width), _TokenMean()
        )
        self.head = nn.Linear(width, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, shape (b, channels, image_size, image_size), to logits, shape (b, c)."""
        return self.head(self.features(images))


class _Patches(nn.Module):
    """Images to tokens: each patch through one linear map, plus what its position adds."""

    def __init__(self, image_size: int, patch: int, channels: int, width: int):
        super().__init__()
        self.patch, self.shape = patch, (channels, image_size, image_size)
        self.embed = nn.Linear(channels * patch**2, width)
        self.positions = nn.Parameter(torch.empty((image_size // patch) ** 2, width))
        nn.init.normal_(self.positions, std=3**-0.5)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1:] != self.shape:
            raise ValueError(
                f"images must have shape (b, {', '.join(map(str, self.shape))}), got {tuple(images.shape)}"
            )
        channels, side, _ = self.shape
        rows = side // self.patch
        cut = images.reshape(-1, channels, rows, self.patch, rows, self.patch)
        return self.embed(cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)) + self.positions


class _TokenMean(nn.Module):
    def forward(self, stream: Tensor) -> Tensor:
        return stream.mean(1)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width), Attention(width, heads, causal=False)
        self.norm, self.widen, self.back = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, stream: Tensor) -> Tensor:
        stream = stream + self.attention(self.attention_norm(stream))
        return stream + self.back(F.gelu(self.widen(self.norm(stream))))
