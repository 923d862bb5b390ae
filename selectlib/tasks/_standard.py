import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from selectlib._checks import check_generator, check_int
from selectlib.tasks._finetuner import Augment, Finetuner, Progress, bound
from selectlib.tasks._inputs import Inputs, check_inputs, check_tasks, embed_rows
from selectlib.tasks._validation import Validation

_PROBE_STEPS = 300  # at least
_TINY = 1e-12


class StandardFinetuner(Finetuner):
    """Finetune an encoder in the usual way: under one linear head over all classes, which is dropped afterwards.

    It sees the samples of the tasks that a `MultitaskFinetuner` would see, in batches of the same size, for the same
    number of steps; only it knows them as labelled samples, shuffled, and not as tasks. First the head is trained on
    the features as they are (a linear probe), then the encoder and the head together.

    Parameters
    ----------
    optimizer : {"sgd", "adamw"}, default "sgd"
        What takes the steps, at a rate that stays.
    lr : float, default 1e-5
        Learning rate of encoder and head, at least 0.
    momentum : float, default 0.9
        Of SGD, from 0 to below 1. AdamW has its usual 0.9 and 0.999.
    weight_decay : float, default 0.0
        At least 0.
    epochs : int, default 10
        How often to go through the samples, at least 1.
    max_steps : int, optional
        Steps in all, at least 1: what `epochs` says then does not count.
    tasks_per_batch : int, default 1
        A batch has as many samples as so many tasks, E Y (S + Q).
    trainable : callable or sequence of str, optional
        Which parameters of the encoder are trained: those whose name it returns True for, or whose names begin with
        one of these. By default those that ask for a gradient. The head is always trained.
    freeze_batchnorm : bool, default True
        Whether batch normalisation keeps its running averages and normalises by them.
    amp : {"auto"} or bool, default "auto"
        Whether the encoder runs under bfloat16 autocast; "auto" does so on CUDA. The head has float32.
    device : str or torch.device, default "auto"
        Where to train; names as in `selectlib.device.pick_device`.

    Attributes
    ----------
    encoder_ : torch.nn.Module
        The finetuned copy, in evaluation mode, on the device, without the head.
    classes_ : Tensor of int64, shape (c,)
        The labels that occur in the tasks, ascending: the classes of the head.
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
    The probe starts at zero and takes as many steps as follow, but at least 300: SGD on the same batches, of features
    that are computed once and never augmented, with momentum 0.9 and the rate 4 over their mean square norm. All
    modules are in evaluation mode, so that there is no dropout.

    A step costs one pass forward and backward of a batch, and 16 bytes a sample for the order, which is made before.
    There is no synchronisation with the device between two validations.

    Source: the baseline of Xu et al., "Towards few-shot adaptation of foundation models via multitask finetuning", ICLR
    2024, as the released code has it, but at the budget of the other method; the paper's text was not read. Its two
    stages are those of Kumar et al., "Fine-tuning can distort pretrained features and underperform
    out-of-distribution", ICLR 2022.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> from selectlib.tasks import EpisodeSampler, LinearAdapter
    >>> labels = torch.arange(60) % 6
    >>> features = torch.eye(8)[labels] + torch.randn(60, 8, generator=generator(100))
    >>> tasks = EpisodeSampler(labels, n_way=3, n_shot=1, n_query=4, n_tasks=20).tasks()
    >>> finetuner = StandardFinetuner(lr=0.1, max_steps=30, device="cpu")
    >>> finetuner = finetuner.fit(LinearAdapter(8), features, labels, tasks, generator=generator(101))
    >>> finetuner.history_["loss"].shape, finetuner.classes_.tolist()
    (torch.Size([30]), [0, 1, 2, 3, 4, 5])
    """

    def fit(
        self,
        encoder: nn.Module,
        inputs: Inputs,
        labels: Int[Tensor, "n"],
        tasks: Int[Tensor, "tasks y m"],
        *,
        n_shot: int = 1,
        validation: tuple[Inputs, Tensor] | None = None,
        augment: Augment | None = None,
        generator: torch.Generator,
        progress: Progress | None = None,
    ) -> "StandardFinetuner":
        """Finetune a copy of an encoder.

        Parameters
        ----------
        encoder : torch.nn.Module
            Maps inputs to features, shape (b, D). It is left as it is.
        inputs : Tensor, shape (n, ...), or dict of such Tensors
            The encoder is called as ``encoder(batch)`` or ``encoder(**batch)``. Batches are gathered where the inputs
            are and moved to the device.
        labels : Tensor of int64, shape (n,)
            The class of each input; those of inputs that no task holds are not read.
        tasks : Tensor of int64, shape (M, Y, S + Q)
            Rows of the inputs, as from `EpisodeSampler`. A sample counts as often as it occurs.
        n_shot : int, default 1
            S of the validation tasks, at least 1; nothing else depends on it.
        validation : pair of inputs and tasks, optional
            Inputs and tasks (M', Y', S + Q') of classes that are in no other use. The epoch of the best
            nearest-centroid accuracy is kept, the first of equals. By default the last step is.
        augment : callable, optional
            ``augment(batch, generator=generator)`` returns changed inputs, each time a batch is trained on.
        generator : torch.Generator
            Source of the orders, and of what `augment` draws.
        progress : callable, optional
            Wraps the range of steps, as ``tqdm`` does.

        Returns
        -------
        StandardFinetuner
            Itself, with the attributes that end in an underscore.

        Raises
        ------
        TypeError
            If an argument is of the wrong type.
        ValueError
            If shapes do not fit, an index is out of range, or nothing of the encoder is trained.
        """
        check_int("n_shot", n_shot, 1)
        n = check_inputs("inputs", inputs)
        check_tasks("tasks", tasks, n, 0)
        if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
            raise TypeError(f"labels must be a tensor of int64, got {getattr(labels, 'dtype', type(labels).__name__)}")
        if labels.shape != (n,):
            raise ValueError(f"labels must have one label an input, shape ({n},), got shape {tuple(labels.shape)}")
        changed = bound(augment, check_generator(generator))
        device = self._device
        held_out = None if validation is None else Validation(validation, n_shot, device)
        tuned = self._start(encoder)
        steps, per_epoch = self._steps(len(tasks))
        samples = tasks.flatten()
        order = _passes(len(samples), steps, self.tasks_per_batch * tasks[0].numel(), generator).to(samples.device)
        self.classes_, answers = labels.to(samples.device)[samples].unique(return_inverse=True)
        targets = answers[order].to(device)
        used, places = samples.unique(return_inverse=True)  # an input is embedded once
        features = embed_rows(tuned, inputs, used, device, self._autocast)
        head = _probed_head(features, places[order].to(device), targets, len(self.classes_))
        self._descend(tuned, head, inputs, samples[order], targets, per_epoch, held_out, changed, progress)
        self._keep(tuned, encoder)
        return self


class _LinearHead(nn.Module):
    """The loss of labelled samples under a linear head, which starts at zero."""

    def __init__(self, dim: int, n_classes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_classes, dim))
        self.bias = nn.Parameter(torch.zeros(n_classes))

    def forward(self, features: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(linear(features, self.weight, self.bias), targets)


def _probed_head(features: Tensor, rows: Tensor, targets: Tensor, n_classes: int) -> _LinearHead:
    """A head that was trained on features that stay, in the batches of `rows`, (steps, b), again and again."""
    head = _LinearHead(features.shape[1], n_classes).to(features)
    # The curvature of the cross-entropy is at most half of the mean square norm of the features; descent with this
    # momentum is stable up to a rate of 3.8 over the curvature.
    lr = 4 / float(features.square().sum(1).mean().clamp(min=_TINY))
    optimizer = torch.optim.SGD(head.parameters(), lr=lr, momentum=0.9, fused=True)
    for step in range(max(_PROBE_STEPS, len(rows))):
        batch = step % len(rows)
        optimizer.zero_grad()
        head(features[rows[batch]], targets[batch]).backward()
        optimizer.step()
    return head


def _passes(n: int, steps: int, size: int, generator: torch.Generator) -> Tensor:
    """Indices of n samples in batches, (steps, size): pass after pass, each in a new random order."""
    device = generator.device
    passes = [torch.randperm(n, generator=generator, device=device) for _ in range(-(-steps * size // n))]
    return torch.cat(passes)[: steps * size].view(steps, size)
