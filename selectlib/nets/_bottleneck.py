from torch import Tensor, nn

from selectlib.nets._sizes import check_sizes


class Bottleneck(nn.Module):
    """A backbone, a linear layer to few features with batch normalisation (or none), and a linear head.

    Parameters
    ----------
    backbone : torch.nn.Module
        Maps inputs to a tensor of shape (b, w) or (b, w, 1, 1), or to an output of ``transformers`` whose
        ``pooler_output`` is one.
    width : int
        Numbers a backbone's output holds for each input, w: 2048 for a ResNet-50.
    classes : int
        Number of outputs, c.
    hidden : int or None, default 256
        Number of features, d. With None there is no linear layer: the features are the backbone's output, d = w.

    Attributes
    ----------
    backbone : torch.nn.Module
        As given.
    width : int
        As given.
    bottleneck : torch.nn.Sequential
        The linear layer and its normalisation, which has no scale and offset; empty if `hidden` is None.
    head : torch.nn.Linear
        Maps features to logits, shape (b, c).

    Raises
    ------
    TypeError
        If `backbone` is not a module, or a size is not an int.
    ValueError
        If a size is below 1, or, when the network is called, the backbone's output is not `width` wide.

    Notes
    -----
    In training mode a bottleneck needs at least 2 inputs. Its layer has no bias: the normalisation would cancel it.
    The network of Xie et al. (2022) is this one round a ResNet-50; their official code leaves the normalisation's
    scale and offset at 1 and 0, and trains the backbone at a tenth of the learning rate of the rest:

    .. code-block:: python

        from transformers import ResNetModel

        net = Bottleneck(ResNetModel.from_pretrained("microsoft/resnet-50"), 2048, classes=65)
        rest = [*net.bottleneck.parameters(), *net.head.parameters()]
        groups = [{"params": net.backbone.parameters(), "lr": 0.01}, {"params": rest, "lr": 0.1}]
        optimizer = torch.optim.Adadelta(groups)

    Examples
    --------
    >>> import torch
    >>> net = Bottleneck(torch.nn.Flatten(), 192, classes=5, hidden=16)
    >>> images = torch.rand(4, 3, 8, 8)
    >>> net.features(images).shape, net(images).shape
    (torch.Size([4, 16]), torch.Size([4, 5]))
    >>> Bottleneck(torch.nn.Flatten(), 192, classes=5, hidden=None).features(images).shape
    torch.Size([4, 192])
    """

    def __init__(self, backbone: nn.Module, width: int, classes: int, hidden: int | None = 256):
        super().__init__()
        if not isinstance(backbone, nn.Module):
            raise TypeError(f"backbone must be a torch.nn.Module, got {type(backbone).__name__}")
        check_sizes(width=width, classes=classes, **({} if hidden is None else {"hidden": hidden}))
        self.backbone = backbone
        self.width = width
        self.bottleneck = nn.Sequential()
        if hidden is not None:
            self.bottleneck.extend([nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden, affine=False)])
        self.head = nn.Linear(width if hidden is None else hidden, classes)

    def features(self, inputs: Tensor) -> Tensor:
        """Map inputs, whatever the backbone reads, to features, shape (b, d)."""
        output = self.backbone(inputs)
        pooled = getattr(output, "pooler_output", output).flatten(1)
        if pooled.shape[1] != self.width:
            raise ValueError(f"width must be that of the backbone's output, {pooled.shape[1]}, got {self.width}")
        return self.bottleneck(pooled)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs to logits, shape (b, c)."""
        return self.head(self.features(inputs))
