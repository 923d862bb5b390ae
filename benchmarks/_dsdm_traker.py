"""The peer: traker on the same network, checkpoints, pool and targets, on the CPU, in float32."""

import logging
import tempfile

import torch
from _dsdm_study import Examples
from torch import Tensor, nn
from trak import TRAKer
from trak.projectors import BasicProjector, NoOpProjector, ProjectionType

_NAME = "targets"


class KeptMatrix(BasicProjector):
    """Its CPU projector with the whole matrix in memory, which is its fastest setting there.

    With the default blocks of 100 columns it draws every block again for every batch. With one block it deletes the
    matrix after the pool's features and then needs it for the targets; here the matrix stays.
    """

    def __init__(self, parameters: int, k: int, seed: int):
        law = ProjectionType.normal
        super().__init__(parameters, k, seed, law, "cpu", block_size=k, dtype=torch.float32)

    def free_memory(self) -> None:
        """Keep the matrix."""


class Traker:
    """One estimate with traker: features and scores checkpoint by checkpoint, then the average at a damping of choice.

    Parameters
    ----------
    network
        Gives the architecture.
    pool, targets
        Examples.
    k
        Length of the projections; 0 leaves the gradients as they are.
    batch
        Examples at once.
    """

    def __init__(self, network: nn.Module, pool: Examples, targets: Examples, *, k: int, seed: int, batch: int = 64):
        self.pool, self.targets, self.batch = pool, targets, batch
        parameters = sum(p.numel() for p in network.parameters())
        self._folder = tempfile.TemporaryDirectory()
        self._traker = TRAKer(
            model=network,
            task="image_classification",
            train_set_size=len(pool[0]),
            save_dir=self._folder.name,
            device="cpu",
            projector=KeptMatrix(parameters, k, seed) if k else NoOpProjector(device="cpu"),
            use_half_precision=False,
            logging_level=logging.ERROR,
            lambda_reg=1.0,  # of the timed runs, which it does not slow; `scores` has another
        )
        self._done: list[int] = []

    def features_to_scores(self, model_id: int, checkpoint: dict[str, Tensor]) -> None:
        """All that a checkpoint needs: features of the pool and the targets, the kernel, and the scores."""
        traker = self._traker
        traker.load_checkpoint(checkpoint, model_id=model_id)
        for batch in self._batches(self.pool):
            traker.featurize(batch, num_samples=len(batch[0]))
        traker.finalize_features(model_ids=[model_id])
        traker.start_scoring_checkpoint(_NAME, checkpoint, model_id, num_targets=len(self.targets[0]))
        for batch in self._batches(self.targets):
            traker.score(batch, num_samples=len(batch[0]))
        traker.finalize_scores(_NAME, model_ids=[model_id])
        self._done.append(model_id)

    def scores(self, damping: float) -> Tensor:
        """Scores by all checkpoints so far, shape (n, m), with damping relative to the kernel's mean diagonal."""
        traker, diagonals = self._traker, []
        for model_id in self._done:
            traker.saver.load_current_store(model_id)
            grads = torch.as_tensor(traker.saver.current_store["grads"])
            diagonals.append(float(grads.square().sum() / grads.shape[1]))
            traker.saver.model_ids[model_id]["is_finalized"] = 0
        traker.score_computer.lambda_reg = damping * sum(diagonals) / len(diagonals)
        traker.finalize_features(model_ids=self._done)
        return torch.as_tensor(traker.finalize_scores(_NAME, model_ids=self._done)).clone()

    def _batches(self, examples: Examples):
        return zip(*(field.split(self.batch) for field in examples), strict=True)
