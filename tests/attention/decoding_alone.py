import copy

import torch


def noisy_copy(model: torch.nn.Module, *, noise: float = 0.1, seed: int = 101) -> torch.nn.Module:
    """A draft that agrees with its target now and then: the target with noise on its matrices."""
    generator, draft = torch.Generator().manual_seed(seed), copy.deepcopy(model)
    with torch.no_grad():
        for weight in draft.parameters():
            if weight.ndim == 2:
                weight.add_(noise * weight.std() * torch.randn(weight.shape, generator=generator))
    return draft


def greedy(model, prompt: torch.Tensor, count: int) -> torch.Tensor:
    """What the model itself says, one token at a time."""
    everything = torch.ones_like(prompt)  # or transformers takes a token 0 of the prompt for padding
    return model.generate(prompt, attention_mask=everything, max_new_tokens=count, do_sample=False, pad_token_id=0)
