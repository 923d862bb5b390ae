"""Features of examples: their gradients, projected to few numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from selectlib.corpora._examples import Examples, blocks
from selectlib.corpora._gradients import Linearization, Table
from selectlib.corpora._outputs import OutputFunction


@runtime_checkable
class Projector(Protocol):
    """A random linear map R of gradients to few numbers, such as `JLProjector`; each model has its own."""

    @property
    def proj_dim(self) -> int:
        """How many numbers, k."""
        ...

    def project(self, grads: Tensor, *, model_id: int = 0, row_offset: int = 0) -> Tensor:
        """Return ``grads @ R[row_offset:row_offset + p]``, shape (b, k), of a part of the gradients, shape (b, p)."""
        ...

    def back_project(self, v: Tensor, num_params: int, *, model_id: int = 0) -> Tensor:
        """Return ``R v``, shape (P,) or (P, m)."""
        ...

    def metadata(self) -> dict[str, Any]:
        """Return what R depends on, as JSON can hold it."""
        ...


@dataclass(frozen=True, eq=False)
class Featuriser:
    """Makes features of examples, batch by batch.

    Parameters
    ----------
    projector : Projector or None
        None leaves the gradients as they are.
    table : list of (name, shape, offset)
        The parameters, in the order of the gradient.
    chunk_size : int or "auto"
        Examples at once.
    """

    projector: Projector | None
    table: Table
    chunk_size: int | Literal["auto"]

    @property
    def width(self) -> int:
        """Number of features of an example."""
        return self.size if self.projector is None else self.projector.proj_dim

    @property
    def size(self) -> int:
        """Number of parameters, P."""
        _, shape, offset = self.table[-1]
        return offset + torch.Size(shape).numel()

    def batches(
        self, lin: Linearization, output: OutputFunction, examples: Examples, *, each_gradient: bool = False
    ) -> Iterator[Examples]:
        """Go through the examples, as many at once as memory allows, on the model's device."""
        rows = self.rows(lin, output, examples, each_gradient=each_gradient)
        for start, stop in blocks(0, len(examples[0]), rows):
            yield tuple(field[start:stop].to(lin.device) for field in examples)

    def rows(self, lin: Linearization, output: OutputFunction, examples: Examples, *, each_gradient: bool) -> int:
        """How many examples `batches` takes at once."""
        if self.chunk_size != "auto":
            return self.chunk_size
        first = tuple(field[:1].to(lin.device) for field in examples)
        return lin.rows_at_once(output, first, each_gradient=each_gradient)

    def features(
        self, lin: Linearization, model_id: int, output: OutputFunction, examples: Examples
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through features, shape (b, k), and weights, shape (b,)."""
        for batch in self.batches(lin, output, examples, each_gradient=True):
            grads, weights = lin.gradients(output, batch)
            yield self._project(grads, model_id), weights

    def mean_feature(self, mean_gradient: Tensor, model_id: int) -> Tensor:
        """Return the features, shape (k,), of one gradient, shape (P,)."""
        if self.projector is None:
            return mean_gradient
        return self.projector.project(mean_gradient.unsqueeze(0), model_id=model_id).squeeze(0)

    def direction(self, v: Tensor, model_id: int) -> Tensor:
        """Return directions, shape (P, m), whose products with gradients are those of features with v, shape (k, m)."""
        return v if self.projector is None else self.projector.back_project(v, self.size, model_id=model_id)

    def _project(self, grads: dict[str, Tensor], model_id: int) -> Tensor:
        parts = [grads[name].flatten(1) for name, _, _ in self.table]
        if self.projector is None:
            return torch.cat(parts, 1)
        offsets: Sequence[int] = [offset for _, _, offset in self.table]
        total = self.projector.project(parts[0], model_id=model_id, row_offset=offsets[0])
        for part, offset in zip(parts[1:], offsets[1:], strict=True):
            total = total + self.projector.project(part, model_id=model_id, row_offset=offset)
        return total
