import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selectlib._checks import check_int, check_positive
from selectlib.support._embed import check_module


class Tent(nn.Module):
    """A model that adapts itself to each test batch by lowering the entropy of its predictions: TENT.

    Batch normalisation uses the statistics of the batch at hand, always, and its scales and offsets follow the gradient
    of the mean entropy of the softmax. The logits that come out are those from before the last update.

    Parameters
    ----------
    model : torch.nn.Module
        A trained model with batch normalisation: inputs (b, ...) to logits (b, c). It is copied.
    lr : float, default 1e-3
        Learning rate of Adam (β = 0.9, 0.999), above 0.
    steps : int, default 1
        Updates a batch, at least 1.
    episodic : bool, default False
        Forget all earlier batches before each batch, instead of adapting on.

    Attributes
    ----------
    model : torch.nn.Module
        The copy as it now is. Nothing but the scales and offsets of batch normalisation ever changes.

    Raises
    ------
    TypeError
        If `model` is no module, or a setting has the wrong type.
    ValueError
        If a setting is out of range, or `model` has no batch normalisation with scales and offsets.

    Notes
    -----
    A batch costs `steps` passes forward and backward. Predictions depend on the batch that an input comes in: the
    method is not defined for single inputs, and batches of one class mislead it. As in the official code, the whole
    model is in training mode, the running averages are dropped, and everything else is frozen.

    Wang et al., "Tent: fully test-time adaptation by entropy minimization", ICLR 2021; official code DequanWang/tent.

    Examples
    --------
    >>> import torch
    >>> tent = Tent(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)), lr=0.1)
    >>> inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(100))
    >>> entropies = [torch.distributions.Categorical(logits=tent(inputs)).entropy().mean() for _ in range(5)]
    >>> bool(entropies[-1] < entropies[0])
    True
    """

    def __init__(self, model: nn.Module, *, lr: float | int = 1e-3, steps: int = 1, episodic: bool = False):
        super().__init__()
        self.lr, self.steps = check_positive("lr", lr), check_int("steps", steps, 1)
        if not isinstance(episodic, bool):
            raise TypeError(f"episodic must be a bool, got {type(episodic).__name__}")
        self.episodic = episodic
        self.model = copy.deepcopy(check_module("model", model)).train().requires_grad_(False)
        layers = [module for module in self.model.modules() if isinstance(module, _BatchNorm)]
        self._adapted = [p.requires_grad_() for layer in layers for p in layer.parameters(recurse=False)]
        if not self._adapted:
            raise ValueError("model must have batch normalisation with scales and offsets, but has none")
        for layer in layers:
            layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
        self._start = [p.detach().clone() for p in self._adapted]
        self.reset()

    def reset(self) -> None:
        """Put scales, offsets and the optimiser back to where they started, bit for bit."""
        with torch.no_grad():
            for parameter, start in zip(self._adapted, self._start, strict=True):
                parameter.copy_(start)
        self._optimizer = torch.optim.Adam(self._adapted, lr=self.lr)

    @torch.enable_grad()
    def forward(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b c"]:
        """Predict a batch, and learn from it.

        Parameters
        ----------
        x : Tensor of floats, shape (b, ...)
            A batch of test inputs; the official code takes 200.

        Returns
        -------
        Tensor of floats, shape (b, c)
            Logits of the forward pass before the last update, without a graph.
        """
        if self.episodic:
            self.reset()
        for _ in range(self.steps):
            logits = self.model(x)
            self._optimizer.zero_grad()
            _entropies(logits).mean().backward()
            self._optimizer.step()
        return logits.detach()


def _entropies(logits: Tensor) -> Tensor:
    logs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)
