from collections.abc import Sequence

from torch import Tensor, nn

from selectlib.nets._sizes import check_sizes


class MLP(nn.Sequential):
    """Linear layers with ReLU between them.

    Parameters
    ----------
    widths : sequence of int
        Numbers of inputs, of hidden units layer by layer, and of outputs: at least two numbers.

    Raises
    ------
    TypeError
        If a width is not an int.
    ValueError
        If there are fewer than two widths, or one is below 1.

    Notes
    -----
    Inputs of shape (b, ...) are flattened to (b, widths[0]); outputs have shape (b, widths[-1]). Weights start as
    `torch.nn.Linear` starts them.

    Examples
    --------
    >>> import torch
    >>> net = MLP([64, 32, 10])
    >>> net(torch.zeros(5, 8, 8)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([5, 10]), 2410)
    """

    def __init__(self, widths: Sequence[int]):
        if len(widths) < 2:
            raise ValueError(f"widths must name at least inputs and outputs, got {list(widths)}")
        check_sizes(**{f"widths[{i}]": width for i, width in enumerate(widths)})
        layers: list[nn.Module] = [nn.Flatten()]
        for i in range(len(widths) - 1):
            if i > 0:
                layers.append(nn.ReLU())
            layers.append(nn.Linear(widths[i], widths[i + 1]))
        super().__init__(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs, shape (b, ...), to logits, shape (b, c)."""
        return super().forward(inputs)
