"""Lloyd's steps class by class on the CPU, compiled when they are first asked for."""

import ctypes
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._compiled import compiled
from selectlib.support._class_blocks import ClassBlock

_WORTH = 2**22  # products a step for which a compiler may be asked
_CALL = 2**34  # products a step in one call, which nothing interrupts


def _compiled_lloyd() -> Callable | None:
    library = compiled(Path(__file__).with_name("_class_lloyd_cpu.cpp"), "k-means within classes")
    if library is None:
        return None
    function = library.cluster_classes
    function.argtypes = ctypes.c_void_p, *[ctypes.c_int64] * 5, ctypes.c_double, *[ctypes.c_int] * 2
    function.restype = None
    return function


def compiled_lloyd(blocks: list[ClassBlock], starts: list[Int[Tensor, "_ r k"]]) -> Callable | None:
    """What does `class_lloyd` for these blocks, if it is worth a compiler; None, with a warning, if there is none."""
    work = sum(block.rows.numel() for block in blocks) * starts[0][0].numel()
    if blocks[0].rows.device.type != "cpu" or work < _WORTH:
        return None
    function = _compiled_lloyd()
    return function and functools.partial(_class_lloyd_cpu, function)


def _class_lloyd_cpu(
    function: Callable, blocks: list[ClassBlock], starts: list[Int[Tensor, "_ r k"]], max_iter: int, tol: float
) -> Iterator[tuple[Float[Tensor, "c k d"], Int[Tensor, "c n"], Float[Tensor, "c"]]]:
    _, r, k = starts[0].shape
    d, threads = blocks[0].rows.shape[2], torch.get_num_threads()
    starts = [start.contiguous() for start in starts]
    found = [
        (block.rows.new_empty(len(x), k, d), torch.zeros_like(block.where), torch.zeros(len(x), dtype=torch.float64))
        for block, x in zip(blocks, starts, strict=True)
    ]
    table = torch.tensor(
        [
            [x.data_ptr() for x in (block.rows[c], start[c], centers[c], labels[c], inertia[c])] + sizes
            for block, start, (centers, labels, inertia) in zip(blocks, starts, found, strict=True)
            for c, sizes in enumerate(torch.stack([block.valid.sum(1), block.clusters, block.pinned], 1).tolist())
        ]
    )
    table = table[table[:, 5].argsort(descending=True, stable=True)]  # what takes longest first
    call = (table[:, 5] * r * k * d).cumsum(0) // _CALL
    wide = blocks[0].rows.dtype == torch.float64
    for part in table.split(call.unique_consecutive(return_counts=True)[1].tolist()):
        function(part.data_ptr(), len(part), d, r, k, max_iter, tol, wide, threads)
    yield from found
