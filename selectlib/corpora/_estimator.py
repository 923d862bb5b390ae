"""Datamodels estimated by TRAK: which pool items raise a model's output on which targets."""

import os
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

from selectlib.corpora._arguments import check_checkpoints, check_choice, check_options, draw_rows
from selectlib.corpora._distributed import place
from selectlib.corpora._examples import check_examples, digest
from selectlib.corpora._features import Featuriser, Projector
from selectlib.corpora._gradients import Checkpoint, evaluating, parameter_names, parameter_table
from selectlib.corpora._one_model import Mode, OneModel, Setup
from selectlib.corpora._outputs import MarginOutput, NegativeLoss, OutputFunction
from selectlib.corpora._pool_job import PoolJob
from selectlib.corpora._progress import Progress, Ticks
from selectlib.corpora._scores import Average, ScoreVector, average_models, mean_of_models
from selectlib.corpora._store import ScoreStore

Reweight = Literal["mean", "token"] | None
Kernel = Literal["gram", "none"]


class DatamodelEstimator:
    """Datamodels estimated by TRAK from a few trained models.

    The model is replaced by what is linear in its parameters near each checkpoint. There, removing a training example
    has a closed form in the gradients: the effect of example z on the output at x is
    ``phi(z)^T K^{-1} phi(x) (1 - p(z))``, with phi the projected gradient of the output, ``K`` the sum of
    ``phi phi^T`` over the pool, and p the probability of what z teaches. A positive score helps.

    Parameters
    ----------
    model : torch.nn.Module
        Gives the architecture, the device and the dtype, float32 or float64, to which checkpoints are converted; its
        own parameters are neither used nor changed. It must run under `torch.func`: no fused attention, no cache. It is
        put in evaluation mode while it is worked with.
    output : OutputFunction
        The number whose gradient is taken: `CorrectClassMargin`, `CausalLMMargin`, `NegativeLoss` of one, or your own.
    projector : Projector or None
        Such as ``JLProjector(2048)``. None takes the gradients as they are, for models of few thousand parameters.
    damping : float, default 0.1
        Added to K, relative to the mean of its diagonal.
    fisher : bool, default False
        Weight each example of K by ``p (1 - p)``, as Newton's method does. Ours; the paper drops these weights.
    reweight : {"mean", "token", None}, default "mean"
        "mean" multiplies the scores of an example by ``1 - p`` averaged over its symbols and over the models; "token"
        weights the gradient of each symbol instead, so that the pool's gradients are those of the loss; None does
        neither. K is made of gradients of `output` in each case.
    average : {"mean", "std"}, default "mean"
        How the models' scores are averaged: as they are (the paper's), or each over its standard deviation (ours).
    kernel : {"gram", "none"}, default "gram"
        "none" leaves K out: the dot product of gradients, an ablation.
    parameters : sequence of str, optional
        Names of the parameters to take gradients by; by default all that are trainable. Tied parameters count once.
    chunk_size : int or "auto", default "auto"
        Examples at once. "auto" keeps the gradients of a chunk below 256 MiB on the CPU, and below an eighth of the
        memory of a CUDA device.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If a value is not among those allowed, or the model has no parameter to take gradients by.

    Notes
    -----
    Source: DsDm (Engstrom et al., 2024), section 2, and TRAK (Park et al., 2023), equation for several models: product
    of the average weight and the average of ``Phi K^{-1} phi``. Fitting costs, a model, about three forward passes and
    one projection for each kernel row, and ``k^3 / 3``; `score_mean` says what scoring costs. All is deterministic: the
    same chunk size on the same machine gives the same bits. On CUDA, torch rounds the inputs of convolutions to 11 bits
    unless ``torch.backends.cudnn.allow_tf32`` is False; the two ways of scoring then agree less well.

    Examples
    --------
    >>> import torch
    >>> from selectlib.corpora import CorrectClassMargin
    >>> model = torch.nn.Linear(2, 2)
    >>> images = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> pool = (images, torch.tensor([0, 1, 1]))  # the second has the wrong label
    >>> checkpoint = {"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}
    >>> estimator = DatamodelEstimator(model, CorrectClassMargin(), projector=None).fit([checkpoint], pool)
    >>> estimator.score_mean(pool, (images[:1], torch.tensor([0]))).scores.sign()
    tensor([ 1., -1.,  1.])
    """

    def __init__(
        self,
        model: nn.Module,
        output: OutputFunction,
        *,
        projector: Projector | None,
        damping: float | int = 0.1,
        fisher: bool = False,
        reweight: Reweight = "mean",
        average: Average = "mean",
        kernel: Kernel = "gram",
        parameters: Sequence[str] | None = None,
        chunk_size: int | Literal["auto"] = "auto",
    ):
        check_options(model, output, projector, damping, chunk_size)
        for name, value, allowed in (
            ("fisher", fisher, (True, False)),
            ("reweight", reweight, ("mean", "token", None)),
            ("average", average, ("mean", "std")),
            ("kernel", kernel, ("gram", "none")),
        ):
            check_choice(name, value, allowed)
        if reweight == "token" and not isinstance(output, MarginOutput):
            raise ValueError(
                f"reweight='token' needs CorrectClassMargin() or CausalLMMargin() as output, got {output!r}"
            )
        names = parameter_names(model, parameters)
        self.reweight, self.average = reweight, average
        self._setup = Setup(
            model=model,
            output=output,
            pool_output=NegativeLoss(output) if reweight == "token" and isinstance(output, MarginOutput) else output,
            featuriser=Featuriser(projector, parameter_table(model, names), chunk_size),
            names=names,
            damping=float(damping),
            fisher=bool(fisher),
            kernel=kernel,
        )
        self._models: list[OneModel] = []

    def fit(
        self,
        checkpoints: Sequence[Checkpoint],
        pool: Sequence[Tensor],
        *,
        kernel_rows: int | None = None,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
    ) -> "DatamodelEstimator":
        """Compute and factorise the kernel of each checkpoint.

        Parameters
        ----------
        checkpoints : sequence of state dicts, or of paths to files of them
            Models of this architecture, trained on random parts of the pool. State dicts are kept by reference; files
            are read whenever they are needed (`torch.load` with ``weights_only=True``).
        pool : tuple of tensors, n rows each
            Examples such as ``(inputs, labels)`` or ``(tokens,)``, on any device. Kept by reference.
        kernel_rows : int, optional
            Make the kernel of that many pool rows, drawn without replacement; 2k rows are about enough. By default it
            is made of all rows, and their features, 4 n k bytes a checkpoint in float32, are kept to score this pool.
        generator : torch.Generator, optional
            Draws the kernel rows; needed with `kernel_rows`.
        progress : callable, optional
            Wraps an iterable of blocks of work, such as ``tqdm``.

        Returns
        -------
        DatamodelEstimator
            Itself.

        Raises
        ------
        TypeError
            If an argument is of another kind.
        ValueError
            If there is no checkpoint, one does not fit the model, the pool is empty or ragged or not finite,
            `kernel_rows` is not from 1 to n, or the kernel is singular or not finite.
        """
        check_checkpoints(checkpoints)
        pool = check_examples("pool", pool)
        rows = None if kernel_rows is None else draw_rows(len(pool[0]), kernel_rows, generator)
        chosen = pool if rows is None else tuple(field[rows.to(field.device)] for field in pool)
        count, width = len(chosen[0]), self._setup.featuriser.width
        if self._setup.kernel == "gram" and self._setup.damping == 0 and count < width:
            raise ValueError(f"damping must be positive where features ({width}) outnumber kernel rows ({count})")
        models = [OneModel(self._setup, m, checkpoint) for m, checkpoint in enumerate(checkpoints)]
        with evaluating(self._setup.model):
            blocks = models[0].blocks(chosen, len(chosen[0]), "project") if self._setup.kernel == "gram" else 0
            with Ticks(progress, len(models) * blocks) as ticks:
                for model in models:
                    model.fit(chosen, keep=rows is None, ticks=ticks)
        self._models, self._pool, self._kernel_pool, self._keeps = models, pool, chosen, rows is None
        return self

    def score(self, targets: Sequence[Tensor], pool: Sequence[Tensor] | None = None) -> Float[Tensor, "n m"]:
        """Score each pool item for each target.

        Parameters
        ----------
        targets : tuple of tensors, m rows each
            Target examples, of the same form as the pool's.
        pool : tuple of tensors, n rows each, optional
            By default the pool of `fit`, whose features are not made again if `fit` kept them.

        Returns
        -------
        Tensor of floats, shape (n, m)
            How much each pool item helps each target, on the pool's device and in the model's dtype.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        TypeError, ValueError
            If the examples are not tensors with as many rows each, or hold no row.

        Notes
        -----
        O(M n k m) operations beside the features, and memory for n x m numbers; M times that with ``average="std"``.
        """
        self._check_fitted()
        pool = self._pool if pool is None else check_examples("pool", pool)
        targets = check_examples("targets", targets)
        found: list[Tensor] = []
        weights = []
        with evaluating(self._setup.model):
            for model in self._models:
                features, weight = model.features(pool, keep=self._keeps and pool is self._pool)
                scores = features @ model.directions_of_each(targets)
                found = [found[0] + scores] if found and self.average == "mean" else [*found, scores]
                weights.append(weight)
        columns = torch.stack(found, -1)
        if self.reweight == "mean":
            columns = columns * torch.stack(weights).mean(0)[:, None, None]
        scores = columns[..., 0] / len(weights) if self.average == "mean" else mean_of_models(columns, "std")
        return scores.to(pool[0].device)

    def score_mean(
        self,
        pool: Sequence[Tensor],
        targets: Sequence[Tensor] | list[Sequence[Tensor]],
        *,
        mode: Mode = "jvp",
        store: str | os.PathLike[str] | None = None,
        shard_rows: int = 1_000_000,
        rank: int | None = None,
        world_size: int | None = None,
        progress: Progress | None = None,
    ) -> ScoreVector | list[ScoreVector]:
        """Score each pool item for the mean output over the targets: one number an item.

        Parameters
        ----------
        pool : tuple of tensors, n rows each
            Examples, on any device, memory-mapped for example.
        targets : tuple of tensors, or list of such tuples
            Target examples of one task, or of each of several tasks.
        mode : {"jvp", "project"}, default "jvp"
            "jvp" takes a directional derivative: no gradient of an example is made, and none is kept. "project" makes
            the features, or uses those that `fit` kept. Both give the same scores up to rounding.
        store : path, optional
            Folder of a `ScoreStore`: scores are written there shard by shard, and work that is there already is not
            done again. Without one they are held in memory.
        shard_rows : int, default 1_000_000
            Rows of a shard of the store.
        rank, world_size : int, optional
            Which of several processes this is, each with the same arguments and store; read from `torch.distributed`
            where that is initialised, as `torchrun` programs do. Process r scores each shard i with
            ``i % world_size == r``.
        progress : callable, optional
            Wraps an iterable of blocks of work, such as ``tqdm``.

        Returns
        -------
        ScoreVector, or list of ScoreVector
            Scores of the whole pool, on its device: one, or one a task where `targets` is a list.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        TypeError
            If an argument is of another kind.
        ValueError
            If the examples are empty, ragged or not finite, the store holds scores of other work, there are several
            processes and no store, or shards of other processes are missing at the end (only where the processes do not
            wait for each other through `torch.distributed`).

        Notes
        -----
        A checkpoint costs one backward pass over the targets, one back-projection, and for each item and task about
        three forward passes ("jvp"), whatever k; "project" costs as much and the projection besides. Memory of "jvp":
        the model, M directions a task, the activations of one chunk, and 4 M bytes an item and task. The forward-mode
        score is ours; it equals the paper's.
        """
        self._check_fitted()
        pool = check_examples("pool", pool)
        tasks = [check_examples("targets", task) for task in (targets if isinstance(targets, list) else [targets])]
        if not tasks:
            raise ValueError("targets is an empty list; at least 1 task is needed")
        check_choice("mode", mode, ("jvp", "project"))
        shares = place(rank, world_size)
        if store is None and shares[1] > 1:
            raise ValueError(f"store must be given where several processes ({shares[1]}) share the work")
        job = PoolJob(self._models, pool, tasks, mode, self.reweight == "mean")
        with evaluating(self._setup.model):
            if store is None:
                columns = job.in_memory(progress)
            else:
                columns = job.in_store(self._open(store, job, shard_rows), shares, progress)
        report = self._report(mode)
        found = [average_models(part, self.average, report) for part in columns.split(len(self._models), 1)]
        return found if isinstance(targets, list) else found[0]

    def _open(self, path: str | os.PathLike[str], job: PoolJob, shard_rows: int) -> ScoreStore:
        metadata = {
            **self._setup.metadata(),
            "reweight": self.reweight,
            "mode": job.mode,
            "parameters_sha256": [model.digest for model in self._models],
            "kernel_rows": len(self._kernel_pool[0]),
            "kernel_rows_sha256": digest(self._kernel_pool),
            "targets_sha256": [digest(task) for task in job.tasks],
            "pool_sha256": digest(job.pool, sample=1024),
        }
        return ScoreStore(path, rows=job.rows, columns=job.columns, shard_rows=shard_rows, metadata=metadata)

    def _report(self, mode: Mode) -> dict[str, Any]:
        reached = set(self._setup.names) - {name for model in self._models for name in model.unreached}
        every = [name for name, _ in self._setup.model.named_parameters()]
        return {
            "mode": mode,
            "models": len(self._models),
            "parameters": self._setup.featuriser.size,
            "parameters_without_gradient": [name for name in every if name not in reached],
            "features": self._setup.featuriser.width,
            "kernel_rows": len(self._kernel_pool[0]),
            "damping": [model.kernel.damping if model.kernel else None for model in self._models],
            "zero_gradients": [model.zero_gradients for model in self._models],
        }

    def _check_fitted(self) -> None:
        if not self._models:
            raise NotFittedError("this DatamodelEstimator is not fitted: call fit(checkpoints, pool) first")
