import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention within a sequence, without biases; written out, so that `torch.func` can transform it.

    Parameters
    ----------
    width : int
        Width of the residual stream, a multiple of `heads`.
    heads : int
        Attention heads.
    causal : bool
        Whether a token sees only itself and those before it.
    """

    def __init__(self, width: int, heads: int, *, causal: bool):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.read = nn.Linear(width, 3 * width, bias=False)
        self.back = nn.Linear(width, width, bias=False)

    def forward(self, stream: Tensor) -> Tensor:
        """Map a stream, shape (b, t, width), to what is added to it."""
        batch, length, width = stream.shape
        shape = (batch, length, 3, self.heads, width // self.heads)
        query, key, value = self.read(stream).view(shape).permute(2, 0, 3, 1, 4)
        logits = (query * (width // self.heads) ** -0.5) @ key.transpose(-1, -2)
        if self.causal:
            later = torch.ones(length, length, dtype=torch.bool, device=stream.device).triu(1)
            logits = logits.masked_fill(later, -torch.inf)
        return self.back((logits.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, width))
