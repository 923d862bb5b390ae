from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor, nn

from selectlib._checks import check_int, check_positive
from selectlib.tasks._centroid import episode_loss
from selectlib.tasks._finetuner import Augment, Finetuner, Progress, Trainable, bound
from selectlib.tasks._inputs import Inputs, check_inputs, check_tasks
from selectlib.tasks._validation import Validation


class MultitaskFinetuner(Finetuner):
    """Finetune an encoder on many small tasks: down the loss of their nearest-centroid classifiers.

    A step takes some tasks, computes the features of their shots and queries in one pass, classifies the queries by
    the centroids of the shots, and follows the gradient of the cross-entropy, `episode_loss`. The tasks come in the
    order in which they are given, again and again.

    Parameters
    ----------
    optimizer : {"sgd", "adamw"}, default "sgd"
        What takes the steps, at a rate that stays.
    lr : float, default 1e-5
        Learning rate, at least 0.
    momentum : float, default 0.9
        Of SGD, from 0 to below 1. AdamW has its usual 0.9 and 0.999.
    weight_decay : float, default 0.0
        Of all that is trained, at least 0.
    epochs : int, default 10
        How often to go through the tasks, at least 1.
    max_steps : int, optional
        Steps in all, at least 1: what `epochs` says then does not count. Without it there are more steps where there
        are more tasks.
    tasks_per_batch : int, default 1
        E, tasks a step, at least 1. After the last task a batch goes on with the first.
    learn_temperature : bool, default True
        Whether the temperature is trained with the encoder, at the same rate.
    temperature : float, default 10.0
        Where it starts, above 0.
    trainable : callable or sequence of str, optional
        Which parameters of the encoder are trained: those whose name it returns True for, or whose names begin with
        one of these. By default those that ask for a gradient.
    freeze_batchnorm : bool, default True
        Whether batch normalisation keeps its running averages and normalises by them.
    amp : {"auto"} or bool, default "auto"
        Whether the encoder runs under bfloat16 autocast; "auto" does so on CUDA. The head has float32.
    device : str or torch.device, default "auto"
        Where to train; names as in `selectlib.device.pick_device`.

    Attributes
    ----------
    encoder_ : torch.nn.Module
        The finetuned copy, in evaluation mode, on the device.
    temperature_ : float
        The temperature that goes with it.
    history_ : dict of str to Tensor
        ``"loss"``, shape (steps,), float32: the loss of each batch, in nats. ``"accuracy"``, shape (epochs,), float64:
        that on the validation tasks, after each epoch; empty without validation. On the CPU.

    Raises
    ------
    TypeError
        If a setting is of the wrong type.
    ValueError
        If a setting is out of range.

    Notes
    -----
    A step costs one pass forward and backward of E Y (S + Q) inputs; the head's E Y² Q D operations hardly count. All
    modules are in evaluation mode, so that there is no dropout. There is no synchronisation with the device between
    two validations.

    Source: Z. Xu, Z. Shi, J. Wei, F. Mu, Y. Li and Y. Liang, "Towards few-shot adaptation of foundation models via
    multitask finetuning", ICLR 2024, as the released code has it; the paper's text was not read.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> from selectlib.tasks import EpisodeSampler, LinearAdapter
    >>> labels = torch.arange(60) % 6
    >>> features = torch.eye(8)[labels] + torch.randn(60, 8, generator=generator(100))
    >>> tasks = EpisodeSampler(labels, n_way=3, n_shot=1, n_query=4, n_tasks=20).tasks()
    >>> finetuner = MultitaskFinetuner(lr=0.1, max_steps=30, device="cpu")
    >>> loss = finetuner.fit(LinearAdapter(8), features, tasks, n_shot=1).history_["loss"]
    >>> loss.shape, bool(loss[-10:].mean() < loss[:10].mean())
    (torch.Size([30]), True)
    """

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
        learn_temperature: bool = True,
        temperature: float | int = 10.0,
        trainable: Trainable | None = None,
        freeze_batchnorm: bool = True,
        amp: Literal["auto"] | bool = "auto",
        device: str | torch.device = "auto",
    ):
        super().__init__(
            optimizer=optimizer,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            epochs=epochs,
            max_steps=max_steps,
            tasks_per_batch=tasks_per_batch,
            trainable=trainable,
            freeze_batchnorm=freeze_batchnorm,
            amp=amp,
            device=device,
        )
        self.learn_temperature = learn_temperature
        self.temperature = check_positive("temperature", temperature)

    def fit(
        self,
        encoder: nn.Module,
        inputs: Inputs,
        tasks: Int[Tensor, "tasks y m"],
        *,
        n_shot: int,
        validation: tuple[Inputs, Tensor] | None = None,
        augment: Augment | None = None,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
    ) -> "MultitaskFinetuner":
        """Finetune a copy of an encoder.

        Parameters
        ----------
        encoder : torch.nn.Module
            Maps inputs to features, shape (b, D). It is left as it is.
        inputs : Tensor, shape (n, ...), or dict of such Tensors
            The encoder is called as ``encoder(batch)`` or ``encoder(**batch)``. Batches are gathered where the inputs
            are and moved to the device.
        tasks : Tensor of int64, shape (M, Y, S + Q)
            Rows of the inputs, as from `EpisodeSampler`: for each of the Y classes of a task its shots, then its
            queries.
        n_shot : int
            S, from 1 to one less than the samples of a class.
        validation : pair of inputs and tasks, optional
            Inputs and tasks (M', Y', S + Q') of classes that are in no other use. The epoch of the best
            nearest-centroid accuracy is kept, the first of equals. By default the last step is.
        augment : callable, optional
            ``augment(batch, generator=generator)`` returns changed inputs, each time a batch is trained on.
        generator : torch.Generator, optional
            Source of what `augment` draws; nothing else is drawn.
        progress : callable, optional
            Wraps the range of steps, as ``tqdm`` does.

        Returns
        -------
        MultitaskFinetuner
            Itself, with the attributes that end in an underscore.

        Raises
        ------
        TypeError
            If an argument is of the wrong type.
        ValueError
            If shapes do not fit, an index is out of range, nothing of the encoder is trained, or `augment` comes
            without `generator`.
        """
        check_int("n_shot", n_shot, 1)
        check_tasks("tasks", tasks, check_inputs("inputs", inputs), n_shot)
        changed = bound(augment, generator)
        held_out = None if validation is None else Validation(validation, n_shot, self._device)
        tuned = self._start(encoder)
        steps, per_epoch = self._steps(len(tasks))
        order = torch.arange(steps * self.tasks_per_batch, device=tasks.device).remainder(len(tasks)).view(steps, -1)
        head = _EpisodeHead(tasks.shape[1:], n_shot, self.temperature, self.learn_temperature).to(self._device)
        rows = tasks[order].flatten(1)
        self._descend(tuned, head, inputs, rows, None, per_epoch, held_out, changed, progress)
        self._keep(tuned, encoder)
        self.temperature_ = head.temperature.item()
        return self


class _EpisodeHead(nn.Module):
    """The loss of a batch of tasks of one shape."""

    def __init__(self, shape: torch.Size, n_shot: int, temperature: float, learn: bool):
        super().__init__()
        self.shape = shape
        self.n_shot = n_shot
        self.temperature = nn.Parameter(torch.tensor(temperature), requires_grad=learn)

    def forward(self, features: Tensor, _: None) -> Tensor:
        return episode_loss(features.view(-1, *self.shape, features.shape[1]), self.n_shot, self.temperature)
