import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selectlib.nets._attention import Attention
from selectlib.nets._sizes import check_sizes


class GPT(nn.Module):
    """A causal transformer: learned positions, RMSNorm before each block, one matrix for embedding and output.

    Parameters
    ----------
    vocab_size : int
        Number of tokens.
    context : int
        Longest sequence that it takes [tokens].
    width : int, default 64
        Width of the residual stream, a multiple of `heads`.
    heads : int, default 4
        Attention heads.
    layers : int, default 2
        Blocks of attention and a two-layer perceptron four times as wide.

    Raises
    ------
    TypeError
        If a size is not an int.
    ValueError
        If a size is below 1, or `width` is not a multiple of `heads`.

    Notes
    -----
    Attention is written out as products and a softmax: fused attention has no rule for `torch.func.vmap` and
    forward-mode derivatives. There are no biases and no dropout, so that training and evaluation are the same
    function. All weights start with standard deviation ``1 / sqrt(3 inputs)``, as torch's linear layers do; at the
    width of GPT-2 that is its 0.02. Time O(t (12 layers width**2 + width vocab_size) + t**2 layers width) a sequence of
    t tokens.

    Examples
    --------
    >>> import torch
    >>> net = GPT(vocab_size=512, context=64)
    >>> net(torch.zeros(5, 20, dtype=torch.int64)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([5, 20, 512]), 135488)
    """

    def __init__(self, vocab_size: int, context: int, width: int = 64, heads: int = 4, layers: int = 2):
        super().__init__()
        check_sizes(vocab_size=vocab_size, context=context, width=width, heads=heads, layers=layers)
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got width={width} and heads={heads}")
        self.context = context
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(layers)))
        self.norm = _RMSNorm(width)
        for embedding in (self.tokens, self.positions):
            nn.init.normal_(embedding.weight, std=(3 * width) ** -0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens, int64 of shape (b, t), to logits of the tokens that follow, shape (b, t, vocab_size)."""
        length = tokens.shape[1]
        if length > self.context:
            raise ValueError(f"tokens must have at most the context's {self.context} positions, got {length}")
        stream = self.tokens(tokens) + self.positions.weight[:length]
        return F.linear(self.norm(self.blocks(stream)), self.tokens.weight)


class _RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, stream: Tensor) -> Tensor:
        return stream * (stream.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * self.scale


class _Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention_norm, self.attention = _RMSNorm(width), Attention(width, heads, causal=True)
        self.norm, self.widen = _RMSNorm(width), nn.Linear(width, 4 * width, bias=False)
        self.back = nn.Linear(4 * width, width, bias=False)

    def forward(self, stream: Tensor) -> Tensor:
        stream = stream + self.attention(self.attention_norm(stream))
        return stream + self.back(F.gelu(self.widen(self.norm(stream))))
