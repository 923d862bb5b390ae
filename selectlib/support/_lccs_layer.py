import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

_MOMENTUM = 0.1  # weight of a new batch in the running statistics
_FLOOR = 1e-3  # smallest standard deviation, in units of the source's
_EPS = 2.0**-16  # torch and cuDNN ask for one; 1 - _EPS + _EPS is exactly 1 in every precision here


class LCCSBatchNorm(nn.Module):
    r"""Batch normalisation by statistics that are combined from the source's and the target's with few coefficients.

    It takes the place of a `torch.nn.BatchNorm1d` or `torch.nn.BatchNorm2d` and normalises each channel with

    .. math::
        \mu = a_\mu \mu_t + b_\mu \mu_s + B_\mu e_\mu, \qquad
        \sigma = a_\sigma \sigma_t + b_\sigma \sigma_s + B_\sigma e_\sigma,

    where s marks the source's running statistics and t those of the target's images. Scale and offset stay the
    source's. The layer may hold r such normalisations, called runs, and apply all of them in one forward pass.

    Parameters
    ----------
    source : torch.nn.BatchNorm1d or torch.nn.BatchNorm2d
        What it replaces, with running statistics, in float32 or float64. Its tensors are copied.

    Attributes
    ----------
    mean_coef, std_coef : torch.nn.Parameters, shapes (r, 2 + m) and (r, 2 + s)
        For each run a, b and the entries of e; only these are to be learnt.
    mean_basis, std_basis : Tensors, shapes (r, 2 + m, c) and (r, 2 + s, c)
        What they combine: the target's statistics, the source's, then the columns of B.

    Raises
    ------
    TypeError
        If `source` is neither kind of batch normalisation, or its statistics are neither in float32 nor in float64.
    ValueError
        If `source` keeps no running statistics.

    Notes
    -----
    A new layer has one run with a = 1, b = 0, and the target's statistics are the source's until it sees a batch in
    training mode. The first batch sets them; later ones move mean and variance by a tenth of the way. The batch is then
    normalised by what has come out. In evaluation mode nothing moves. No standard deviation is below a thousandth of
    the source's; `clamped` counts where that bound holds.

    The runs of a batch lie behind each other along its first dimension. Layers that treat images one by one need not
    know of them, so that a whole network of r runs needs one launch a layer. Runs never interact. Time and memory are
    those of batch normalisation of r times the images.

    References
    ----------
    W. Zhang, L. Shen, W. Zhang and C.-S. Foo, "Few-shot adaptation of pre-trained networks for domain shift", IJCAI
    2022.

    Examples
    --------
    >>> import torch
    >>> images = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(100))
    >>> source = torch.nn.BatchNorm2d(3)
    >>> layer = LCCSBatchNorm(source)
    >>> layer.blend(torch.tensor([0.0, 1.0]))  # two runs: the source's statistics, and the target's
    >>> at_source, at_target = layer(images.repeat(2, 1, 1, 1)).chunk(2)
    >>> torch.allclose(at_source, source.eval()(images)), torch.allclose(at_target, source.train()(images), atol=1e-6)
    (True, True)
    """

    weight: Tensor
    bias: Tensor
    mean_basis: Tensor
    std_basis: Tensor

    def __init__(self, source: nn.BatchNorm1d | nn.BatchNorm2d):
        super().__init__()
        if not isinstance(source, nn.BatchNorm1d | nn.BatchNorm2d):
            raise TypeError(f"source must be a BatchNorm1d or a BatchNorm2d, got {type(source).__name__}")
        if source.running_mean is None or source.running_var is None:
            raise ValueError("source must keep running statistics, but has track_running_stats=False")
        mean, var = source.running_mean.detach(), source.running_var.detach()
        if mean.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"source must be in float32 or float64, got {mean.dtype}; convert the model with .float()")
        self.eps = source.eps
        scale, offset = source.weight, source.bias  # None where affine=False
        self.register_buffer("weight", torch.ones_like(mean) if scale is None else scale.detach().clone())
        self.register_buffer("bias", torch.zeros_like(mean) if offset is None else offset.detach().clone())
        self.register_buffer("mean_basis", mean.expand(1, 2, -1).clone())
        self.register_buffer("std_basis", (var + self.eps).sqrt().expand(1, 2, -1).clone())
        self.blend(mean.new_ones(1))
        self.train(source.training)

    def blend(self, alphas: Float[Tensor, "r"]) -> None:
        """Start anew with one run an alpha: a = alpha, b = 1 - alpha, no B; the target's statistics are forgotten.

        Parameters
        ----------
        alphas : Tensor of floats, shape (r,)
            Weights of the target's statistics, from 0 to 1.

        Raises
        ------
        ValueError
            If there is none, or one is out of range.
        """
        if alphas.ndim != 1 or len(alphas) == 0 or not ((alphas >= 0) & (alphas <= 1)).all():
            raise ValueError(f"alphas must be one or more numbers from 0 to 1, got {alphas.tolist()}")
        coef = torch.stack([alphas, 1 - alphas], 1).to(self.mean_basis)
        self.mean_coef, self.std_coef = nn.Parameter(coef), nn.Parameter(coef.clone())
        self.mean_basis, self.std_basis = (
            basis[:1, 1:2].repeat(len(alphas), 2, 1) for basis in (self.mean_basis, self.std_basis)
        )
        self._moments: tuple[Tensor, Tensor, int] | None = None

    def span(self, rank: int) -> None:
        r"""Add the bases :math:`B_\mu` and :math:`B_\sigma` of the last batch, with coefficients e = 0.

        Each is made of the images' own means, or standard deviations, over their places: what is orthogonal to the
        target's statistic, as its left singular vectors times their singular values.

        Parameters
        ----------
        rank : int
            Columns, at least 0. At most n, the images of the batch, and c - 1; the means of n images fill n - 1.

        Raises
        ------
        RuntimeError
            If the layer has not seen a batch in training mode since it began, or holds several runs.

        Notes
        -----
        An image with one place a channel has no standard deviation: then :math:`B_\sigma` has no column. Time of two
        singular value decompositions of c x n. The code of the source scales :math:`B_\sigma` by the singular
        values of the means; here it has its own.
        """
        if self._moments is None or len(self.mean_coef) != 1:
            raise RuntimeError("span needs one run, and a batch seen in training mode before")
        (mean, var, places), channels = self._moments, self.bias.numel()
        spread = (var * (places / max(places - 1, 1)) + self.eps).sqrt()  # of each image, unbiased
        target = torch.stack([self.mean_basis[0, 0], self.std_basis[0, 0]])
        columns = _orthogonal_span(torch.cat([mean, spread]), target, min(rank, channels - 1))
        self.mean_basis = torch.cat([self.mean_basis, columns[:1]], 1)
        self.mean_coef = nn.Parameter(F.pad(self.mean_coef.detach(), (0, columns.shape[1])))
        if places > 1:
            self.std_basis = torch.cat([self.std_basis, columns[1:]], 1)
            self.std_coef = nn.Parameter(F.pad(self.std_coef.detach(), (0, columns.shape[1])))
        self._moments = None

    @property
    def mean(self) -> Float[Tensor, "r c"]:
        """The mean that each run normalises with."""
        return (self.mean_coef.unsqueeze(-1) * self.mean_basis).sum(1)

    @property
    def std(self) -> Float[Tensor, "r c"]:
        """The standard deviation that each run normalises with."""
        return torch.maximum(self._free_std, _FLOOR * self.std_basis[:, 1])

    @property
    def clamped(self) -> Int[Tensor, ""]:
        """The number of standard deviations that their bound holds up."""
        return (self._free_std < _FLOOR * self.std_basis[:, 1]).sum()

    @property
    def _free_std(self) -> Tensor:
        return (self.std_coef.unsqueeze(-1) * self.std_basis).sum(1)

    def forward(self, inputs: Float[Tensor, "b c *places"]) -> Float[Tensor, "b c *places"]:
        """Normalise a batch, the images of each run behind those of the one before."""
        runs = len(self.mean_coef)
        if len(inputs) % runs:
            raise ValueError(f"inputs must hold equally many images for each of {runs} runs, got {len(inputs)}")
        if self.training:
            self._observe(inputs.detach().unflatten(0, (runs, -1)))
        scale = self.weight / self.std
        shift = self.bias - self.mean * scale
        if runs == 1:  # one fused pass, and one backward
            still = torch.zeros_like(self.bias), torch.full_like(self.bias, 1 - _EPS)
            return F.batch_norm(inputs, *still, scale[0], shift[0], training=False, eps=_EPS)
        shape = (runs, 1, -1, *[1] * (inputs.ndim - 2))
        return torch.addcmul(shift.view(shape), inputs.unflatten(0, (runs, -1)), scale.view(shape)).flatten(0, 1)

    @torch.no_grad()
    def _observe(self, inputs: Float[Tensor, "r n c *places"]) -> None:
        """Move the target's statistics towards those of a batch."""
        over = tuple(range(3, inputs.ndim))
        if over:  # several times faster than torch.var_mean, and as stable: the squares are of deviations
            mean = inputs.mean(over, keepdim=True)
            var = (inputs - mean).square_().mean(over)
            mean = mean.flatten(2)
        else:
            mean, var = inputs, torch.zeros_like(inputs)
        step = 1.0 if self._moments is None else _MOMENTUM
        square = self.std_basis[:, 0].square()
        square.lerp_(var.mean(1) + mean.var(1, correction=0) + self.eps, step)
        self.mean_basis[:, 0].lerp_(mean.mean(1), step)
        self.std_basis[:, 0] = square.sqrt()
        self._moments = mean, var, inputs[0, 0, 0].numel()


def _orthogonal_span(rows: Float[Tensor, "2 n c"], away: Float[Tensor, "2 c"], rank: int) -> Float[Tensor, "2 m c"]:
    """Left singular vectors times singular values, as rows, of the columns ``rows.mT`` less what lies along `away`."""
    unit = F.normalize(away, dim=1).unsqueeze(1)
    rest = rows - (rows @ unit.mT) * unit
    left, values, _ = torch.linalg.svd(rest.mT, full_matrices=False)
    return (left * values.unsqueeze(1))[..., :rank].mT
