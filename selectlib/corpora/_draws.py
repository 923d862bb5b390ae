"""What the selectors of this room draw from the caller's generator."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def check_generator(generator: object) -> None:
    """Raise unless `generator` is a torch generator."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")


def uniforms(n: int, generator: torch.Generator) -> Float[Tensor, "n"]:
    """Independent draws from (0, 1), in double precision, on the generator's device."""
    drawn = torch.rand(n, generator=generator, device=generator.device, dtype=torch.float64)
    return drawn.clamp_(min=2.0**-54)  # 0 has probability 2**-53 and no logarithm


def gumbels(n: int, generator: torch.Generator) -> Float[Tensor, "n"]:
    """Independent standard Gumbel draws: added to log-weights, the k largest are a weighted draw without repeats."""
    return -(-uniforms(n, generator).log()).log()


def permutation(n: int, generator: torch.Generator) -> Int[Tensor, "n"]:
    """The first n whole numbers in random order."""
    return torch.randperm(n, generator=generator, device=generator.device)


def seed_of(generator: torch.Generator) -> int:
    """A seed for a library that takes an int."""
    return int(torch.randint(2**31, (1,), generator=generator, device=generator.device))
