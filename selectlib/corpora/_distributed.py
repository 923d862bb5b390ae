"""Which of several processes this is."""

from torch import distributed


def place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and number of processes: of `torch.distributed` where it is initialised, else as given, else one process."""
    if together():
        return distributed.get_rank(), distributed.get_world_size()
    rank, world_size = rank or 0, world_size or 1
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be from 0 to world_size - 1 = {world_size - 1}, got {rank}")
    return rank, world_size


def wait_for_all() -> None:
    """Wait until every process is here, where they were started together."""
    if together():
        distributed.barrier()


def together() -> bool:
    """Whether processes were started together, by ``torchrun`` for example."""
    return distributed.is_available() and distributed.is_initialized()
