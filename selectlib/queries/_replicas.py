import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer


class Replicas:
    """r copies of one architecture, trained side by side: their parameters, buffers and optimiser state are stacked.

    A pass of all replicas is one pass through `torch.func.vmap`: a few large operations instead of r times as many
    small ones. What comes out is what r separate nets would give.

    Parameters
    ----------
    models : sequence of r torch.nn.Modules
        Same architecture, each its own start. A model has ``features``, which maps inputs (b, ...) to features (b, d),
        and ``head``, which maps features to logits (b, c). Their values are copied.
    optimizer : callable
        Makes a `torch.optim.Optimizer` of a list of parameters, each of shape (r, ...). It must work entry by entry, as
        SGD, Adam and Adadelta do, so that one on the stack equals one a replica.

    Attributes
    ----------
    optimizer : torch.optim.Optimizer
        What `step` applies.

    Raises
    ------
    TypeError
        If a model is no module, or lacks ``features`` or ``head``.
    ValueError
        If there is no model.

    Notes
    -----
    A single replica is called without `vmap`, so that modules which that refuses (with dropout, with control flow that
    depends on values) can be used one at a time.

    Examples
    --------
    >>> from functools import partial
    >>> import torch
    >>> from selectlib.nets import BatchNormConvNet
    >>> nets = Replicas([BatchNormConvNet() for _ in range(3)], partial(torch.optim.SGD, lr=0.1))
    >>> images = torch.rand(3, 8, 1, 8, 8)  # eight images for each replica
    >>> nets.step(nets.train_pass(images).logsumexp(-1).mean(-1))
    >>> features, logits = nets.evaluate([images])
    >>> features.shape, logits.shape
    (torch.Size([3, 8, 32]), torch.Size([3, 8, 10]))
    """

    def __init__(self, models: Sequence[nn.Module], optimizer: Callable[[list[Tensor]], Optimizer]):
        if len(models) == 0:
            raise ValueError("models must hold at least one model, got none")
        split = [_Split(model) for model in models]
        self._net = copy.deepcopy(split[0]).to("meta")  # the architecture; values are put in at each call
        self._parameters, self._buffers = stack_module_state(split)
        self._make_optimizer = optimizer
        self.optimizer = optimizer(self._trained())

    def __len__(self) -> int:
        """Return the number of replicas, r."""
        return len(next(iter(self._parameters.values())))

    def train_pass(self, inputs: Float[Tensor, "r b ..."], *, track: bool = True) -> Float[Tensor, "r b c"]:
        """Logits of one batch a replica in training mode, differentiable.

        Parameters
        ----------
        inputs : Tensor of floats, shape (r, b, ...)
            One batch for each replica.
        track : bool, default True
            Whether batch normalisation's running averages move.

        Returns
        -------
        Tensor of floats, shape (r, b, c)
        """
        if not self._net.training:
            self._net.train()
        buffers = self._buffers if track else {name: buffer.clone() for name, buffer in self._buffers.items()}
        return self._call(buffers, inputs)[1]

    def step(self, losses: Float[Tensor, "r"]) -> None:
        """Let each replica follow the gradient of its own loss.

        Parameters
        ----------
        losses : Tensor of floats, shape (r,)
            Loss of each replica, with its graph.
        """
        self.optimizer.zero_grad()
        losses.sum().backward()
        self.optimizer.step()

    @torch.no_grad()
    def evaluate(
        self, blocks: Iterable[Float[Tensor, "r b ..."]]
    ) -> tuple[Float[Tensor, "r n d"], Float[Tensor, "r n c"]]:
        """Features and logits in evaluation mode.

        Parameters
        ----------
        blocks : iterable of Tensors of floats, shapes (r, b_i, ...)
            Inputs of each replica in blocks, n of them together; one block is in memory at a time.

        Returns
        -------
        features : Tensor of floats, shape (r, n, d)
        logits : Tensor of floats, shape (r, n, c)
        """
        self._net.eval()
        features, logits = zip(*(self._call(self._buffers, block) for block in blocks), strict=True)
        return torch.cat(features, 1), torch.cat(logits, 1)

    @torch.no_grad()
    def estimate_averages(self, blocks: Iterable[Float[Tensor, "r b ..."]]) -> None:
        """Replace batch normalisation's running averages with the means over some inputs.

        Parameters
        ----------
        blocks : iterable of Tensors of floats, shapes (r, b_i, ...)
            Inputs of each replica, in blocks of at least 2. Each block is normalised by itself; what is averaged is the
            blocks' means and variances, weighted by size.
        """
        norms = [module for module in self._net.modules() if isinstance(module, _BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        seen = 0
        try:
            for block in blocks:
                seen += block.shape[1]
                for norm in norms:
                    norm.momentum = (
                        block.shape[1] / seen
                    )  # turns the running average into a mean; the first forgets all
                self.train_pass(block)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum

    def fork(self, index: Int[Tensor, "s"]) -> None:
        """Turn the r replicas into s: copies of the chosen ones, with their optimiser state.

        Parameters
        ----------
        index : Tensor of int64, shape (s,)
            Which replica each new one starts from; repeats are what it is for.
        """
        count, before = len(self), self.optimizer.state
        old = self._trained()
        index = index.to(old[0].device)

        def copied(value):
            return value[index] if isinstance(value, Tensor) and value.shape[:1] == (count,) else copy.deepcopy(value)

        self._parameters = {
            name: p.detach()[index].requires_grad_(p.requires_grad) for name, p in self._parameters.items()
        }
        self._buffers = {name: buffer[index] for name, buffer in self._buffers.items()}
        self.optimizer = self._make_optimizer(self._trained())
        for parent, child in zip(old, self._trained(), strict=True):
            self.optimizer.state[child] = {key: copied(value) for key, value in before[parent].items()}

    def state_dicts(self) -> list[dict[str, Tensor]]:
        """Return the state dict of each replica, good for ``model.load_state_dict``; they share no memory."""
        stacks = {**self._parameters, **self._buffers}
        names = [name for name in self._net.state_dict() if name in stacks]
        return [
            {name.removeprefix("model."): stacks[name][i].detach().clone() for name in names} for i in range(len(self))
        ]

    def checkpoint(self) -> dict[str, dict]:
        """Return everything that training changes, as plain containers of tensors."""
        values = {name: value.detach() for name, value in {**self._parameters, **self._buffers}.items()}
        return {"values": values, "optimizer": self.optimizer.state_dict()}

    @torch.no_grad()
    def restore(self, checkpoint: dict[str, dict]) -> None:
        """Take back what `checkpoint` returned, from as many replicas."""
        for name, value in {**self._parameters, **self._buffers}.items():
            value.copy_(checkpoint["values"][name])
        self.optimizer.load_state_dict(checkpoint["optimizer"])

    def _trained(self) -> list[Tensor]:
        return [p for p in self._parameters.values() if p.requires_grad]

    def _call(self, buffers: dict[str, Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of all replicas."""
        if len(self) > 1:
            return vmap(self._call_one)(self._parameters, buffers, inputs)
        parameters, buffers = ({n: value[0] for n, value in stacks.items()} for stacks in (self._parameters, buffers))
        features, logits = self._call_one(parameters, buffers, inputs[0])
        return features[None], logits[None]

    def _call_one(self, parameters, buffers, inputs):
        return functional_call(self._net, (parameters, buffers), (inputs,))


class InPlace(Replicas):
    """One module trained in place, behind the interface of `Replicas`; any module will do.

    Parameters
    ----------
    model : torch.nn.Module
        The module, with ``features`` and ``head``; its own parameters and buffers change.
    optimizer : callable
        Makes a `torch.optim.Optimizer` of the module.
    """

    def __init__(self, model: nn.Module, optimizer: Callable[[nn.Module], Optimizer]):
        self._net = _Split(model)
        self._parameters = dict(self._net.named_parameters())
        self._buffers = dict(self._net.named_buffers())
        self.optimizer = optimizer(model)

    def __len__(self) -> int:
        """Return 1."""
        return 1

    def fork(self, index: Int[Tensor, "s"]) -> None:
        """Do nothing: a module in place has no copies."""

    def state_dicts(self) -> list[dict[str, Tensor]]:
        """Return a copy of the module's state dict, alone in a list."""
        return [{name: value.detach().clone() for name, value in self._net.model.state_dict().items()}]

    def _call(self, buffers: dict[str, Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
        # A plain call wherever the module's own buffers are meant: hooks and compiled modules see nothing unusual.
        plain = buffers is self._buffers
        features, logits = self._net(inputs[0]) if plain else functional_call(self._net, buffers, (inputs[0],))
        return features[None], logits[None]


class _Split(nn.Module):
    """A model that gives its features and its logits."""

    def __init__(self, model: nn.Module):
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"a model must be a torch.nn.Module, got {type(model).__name__}")
        for part in ("features", "head"):
            if not callable(getattr(model, part, None)):
                raise TypeError(f"a model must have `features` and `head`; {type(model).__name__} has no `{part}`")
        self.model: Any = model

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model.features(inputs)
        return features, self.model.head(features)
