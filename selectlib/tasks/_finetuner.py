"""What the finetuners share: their settings, and the loop that follows the gradient of a loss."""

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selectlib._checks import check_choice, check_generator, check_int, check_positive
from selectlib.device import pick_device
from selectlib.tasks._inputs import Inputs, encode, take
from selectlib.tasks._validation import Validation

Progress = Callable[[Iterable[int]], Iterable[int]]
Trainable = Callable[[str], bool] | Sequence[str]


@runtime_checkable
class Augment(Protocol):
    """What makes a randomly changed copy of each input of a batch."""

    def __call__(self, inputs: Any, *, generator: torch.Generator) -> Any:
        """Return one view of each input, in the order and shape of `inputs`."""
        ...


class Finetuner:
    """What finetuners have in common; their docstrings say what the settings mean."""

    def __init__(
        self,
        *,
        optimizer: Literal["sgd", "adamw"] = "sgd",
        lr: float | int = 1e-5,
        momentum: float | int = 0.9,
        weight_decay: float | int = 0.0,
        epochs: int = 10,
        max_steps: int | None = None,
        tasks_per_batch: int = 1,
        trainable: Trainable | None = None,
        freeze_batchnorm: bool = True,
        amp: Literal["auto"] | bool = "auto",
        device: str | torch.device = "auto",
    ):
        self.optimizer = check_choice("optimizer", optimizer, ("sgd", "adamw"))
        self.lr = _not_negative("lr", lr)
        self.momentum = _not_negative("momentum", momentum)
        if self.momentum >= 1:
            raise ValueError(f"momentum must be from 0 to below 1, got {momentum}")
        self.weight_decay = _not_negative("weight_decay", weight_decay)
        self.epochs = check_int("epochs", epochs, 1)
        self.max_steps = None if max_steps is None else check_int("max_steps", max_steps, 1)
        self.tasks_per_batch = check_int("tasks_per_batch", tasks_per_batch, 1)
        if isinstance(trainable, str) or not (trainable is None or callable(trainable) or _are_strings(trainable)):
            raise TypeError(f"trainable must be None, a callable or prefixes of parameter names, got {trainable!r}")
        self.trainable = trainable
        self.freeze_batchnorm = freeze_batchnorm
        if not isinstance(amp, bool) and amp != "auto":
            raise ValueError(f"amp must be 'auto', True or False, got {amp!r}")
        self.amp = amp
        self.device = device

    def _start(self, encoder: nn.Module) -> nn.Module:
        """A copy of the encoder on the device, in evaluation mode, where only what is trained asks for a gradient."""
        if not isinstance(encoder, nn.Module):
            raise TypeError(f"encoder must be a torch.nn.Module, got {type(encoder).__name__}")
        tuned = copy.deepcopy(encoder).to(self._device).eval()
        if self.trainable is not None:
            chosen = self.trainable
            for name, parameter in tuned.named_parameters():
                parameter.requires_grad_(chosen(name) if callable(chosen) else name.startswith(tuple(chosen)))
        if not any(parameter.requires_grad for parameter in tuned.parameters()):
            raise ValueError("encoder must have a parameter that is trained, but trainable or requires_grad leave none")
        return tuned

    @property
    def _device(self) -> torch.device:
        return pick_device(self.device)

    @property
    def _autocast(self) -> bool:
        return self._device.type == "cuda" if self.amp == "auto" else self.amp

    def _steps(self, n_tasks: int) -> tuple[int, int]:
        """Steps in all, and those of an epoch."""
        per_epoch = -(-n_tasks // self.tasks_per_batch)
        return self.max_steps or self.epochs * per_epoch, per_epoch

    def _descend(
        self,
        tuned: nn.Module,
        head: nn.Module,
        inputs: Inputs,
        rows: Tensor,
        targets: Tensor | None,
        per_epoch: int,
        validation: Validation | None,
        augment: Callable[[Inputs], Inputs] | None,
        progress: Progress | None,
    ) -> None:
        """Follow the gradient of ``head(features, target)``, a step for each of `rows`, (steps, b); set `history_`."""
        device, autocast = self._device, self._autocast
        model = nn.ModuleList([tuned, head])
        optimizer = self._make_optimizer([parameter for parameter in model.parameters() if parameter.requires_grad])
        norms = [] if self.freeze_batchnorm else [m for m in tuned.modules() if isinstance(m, _BatchNorm)]
        losses, accuracy = torch.empty(len(rows), device=device), []
        best: dict[str, Tensor] = {}
        _set_training(norms, True)
        for step in range(len(rows)) if progress is None else progress(range(len(rows))):
            batch = take(inputs, rows[step], device)
            if augment is not None:
                batch = augment(batch)
            optimizer.zero_grad()
            loss = head(encode(tuned, batch, autocast), None if targets is None else targets[step])
            loss.backward()
            optimizer.step()
            losses[step] = loss.detach()
            if validation is not None and ((step + 1) % per_epoch == 0 or step + 1 == len(rows)):
                _set_training(norms, False)
                accuracy.append(validation.accuracy(tuned, device, autocast))
                _set_training(norms, True)
                if accuracy[-1] > max(accuracy[:-1], default=-1.0):
                    best = {name: value.clone() for name, value in model.state_dict().items()}
        if best:
            model.load_state_dict(best)
        optimizer.zero_grad()
        self.history_ = {"loss": losses.cpu(), "accuracy": torch.tensor(accuracy, dtype=torch.float64)}

    def _keep(self, tuned: nn.Module, encoder: nn.Module) -> None:
        """Set `encoder_`: the tuned copy, in evaluation mode; its parameters ask for gradients as the encoder's do."""
        for parameter, given in zip(tuned.parameters(), encoder.parameters(), strict=True):
            parameter.requires_grad_(given.requires_grad)
        self.encoder_ = tuned.eval()

    def _make_optimizer(self, trained: list[nn.Parameter]) -> torch.optim.Optimizer:
        """What takes the steps."""
        if self.optimizer == "adamw":
            return torch.optim.AdamW(trained, lr=self.lr, weight_decay=self.weight_decay, fused=True)
        return torch.optim.SGD(trained, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, fused=True)


def bound(augment: Augment | None, generator: torch.Generator | None) -> Callable[[Inputs], Inputs] | None:
    """An augmentation that draws from a generator; raise unless it can be called and there is a generator."""
    if augment is None:
        return None
    if not callable(augment):
        raise TypeError(f"augment must be callable, got {type(augment).__name__}")
    if generator is None:
        raise ValueError("generator must be given where augment is: its draws come from there")
    return partial(augment, generator=check_generator(generator))


def _set_training(modules: Sequence[nn.Module], mode: bool) -> None:
    for module in modules:
        module.train(mode)


def _not_negative(name: str, value: Any) -> float:
    """Raise unless `value` is a finite number of at least 0."""
    if not isinstance(value, bool) and value == 0:
        return 0.0
    try:
        return check_positive(name, value)
    except ValueError:
        raise ValueError(f"{name} must be a finite number of at least 0, got {value}") from None


def _are_strings(names: Any) -> bool:
    return isinstance(names, Sequence) and all(isinstance(name, str) for name in names)
