"""Examples of a model: a tuple of tensors with equal first dimensions."""

import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

Examples = tuple[Tensor, ...]

_ROWS_CHECKED_AT_ONCE = 1024


def check_examples(name: str, examples: Sequence[Tensor]) -> Examples:
    """Raise unless `examples` are tensors with as many rows each, at least 1; return them as a tuple."""
    if isinstance(examples, Tensor) or not isinstance(examples, Sequence) or not examples:
        raise TypeError(f"{name} must be a tuple of tensors such as (inputs, labels), got {type(examples).__name__}")
    for field in examples:
        if not isinstance(field, Tensor):
            raise TypeError(f"{name} must hold tensors, got {type(field).__name__}")
        if field.ndim == 0 or len(field) != len(examples[0]):
            shapes = [tuple(field.shape) for field in examples]
            raise ValueError(f"{name} must be tensors with as many rows each, got shapes {shapes}")
        if field.is_floating_point() and not all(
            bool(part.isfinite().all()) for part in field.split(_ROWS_CHECKED_AT_ONCE)
        ):
            raise ValueError(f"{name} holds NaN or infinity")
    if not len(examples[0]):
        raise ValueError(f"{name} holds no examples; at least 1 is needed")
    return tuple(examples)


def is_same(a: Examples, b: Examples) -> bool:
    """Whether the two are the very same tensors."""
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def blocks(start: int, stop: int, rows: int) -> list[tuple[int, int]]:
    """Cut a range of rows into blocks."""
    return [(a, min(a + rows, stop)) for a in range(start, stop, rows)]


def digest(examples: Examples, *, sample: int | None = None) -> str:
    """Hash of shapes, dtypes and contents: of all rows, or of about `sample` rows that are spread evenly."""
    step = 1 if sample is None else -(-len(examples[0]) // sample)
    shapes = [list(field.shape) for field in examples]
    return tensor_digest({f"{i} of {shapes}": field[::step] for i, field in enumerate(examples)})


def tensor_digest(tensors: dict[str, Tensor]) -> str:
    """Hash of names, shapes, dtypes and contents."""
    found = hashlib.sha256()
    for name, tensor in tensors.items():
        found.update(repr((name, tuple(tensor.shape), tensor.dtype)).encode())
        for part in _bytes(tensor):
            found.update(part)
    return found.hexdigest()


def _bytes(tensor: Tensor) -> Iterator[memoryview]:
    """Content of a tensor, wherever it is; hashing is the CPU's work."""
    flat = tensor.detach().reshape(-1)
    for part in flat.split(2**22):
        yield memoryview(part.cpu().contiguous().view(torch.uint8).numpy())
