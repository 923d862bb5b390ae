"""Small models with examples for the tests of the estimator, and its numbers by plain loops."""

import torch

from selectlib.corpora._outputs import CausalLMMargin, CorrectClassMargin
from selectlib.nets import GPT, MLP
from selectlib.seeding import generator

F64 = torch.float64


class Dense:
    """A projector that holds its matrices, one a model."""

    def __init__(self, num_params, proj_dim, models=3):
        self.proj_dim = proj_dim
        shape = (models, num_params, proj_dim)
        self.R = torch.randn(shape, dtype=F64, generator=generator(200)) / proj_dim**0.5

    def project(self, grads, *, model_id=0, row_offset=0):
        return grads @ self.R[model_id, row_offset : row_offset + grads.shape[1]].to(grads.dtype)

    def back_project(self, v, num_params, *, model_id=0):
        assert num_params == self.R.shape[1]
        return self.R[model_id].to(v.dtype) @ v

    def metadata(self):
        return {"kind": "dense", "proj_dim": self.proj_dim}


def count(model):
    return sum(param.numel() for param in model.parameters())


def checkpoints(model, models, seed, scale=0.3):
    draws = generator(seed)
    state = model.state_dict()
    return [
        {k: scale * torch.randn(v.shape, dtype=F64, generator=draws).to(v.dtype) for k, v in state.items()}
        for _ in range(models)
    ]


def classifier(n=64, m=7, models=2, dtype=F64, widths=(20, 15, 4)):
    draws = generator(201)
    model = MLP(list(widths)).to(dtype)

    def examples(rows):
        x = torch.randn(rows, widths[0], dtype=F64, generator=draws).to(dtype)
        return x, torch.randint(widths[-1], (rows,), generator=draws)

    return model, CorrectClassMargin(), checkpoints(model, models, 202), examples(n), examples(m)


def language(n=40, m=5, models=2, dtype=F64):
    draws = generator(203)
    model = GPT(13, 10, width=8, heads=2, layers=1).to(dtype)
    mask = torch.zeros(m, 11, dtype=torch.bool)
    mask[:, 7:] = True
    tokens, wanted = torch.randint(13, (n, 11), generator=draws), torch.randint(13, (m, 11), generator=draws)
    return model, CausalLMMargin(), checkpoints(model, models, 204), (tokens,), (wanted, mask)


def explicit(model, output, state, examples):
    """Gradient of each example by a plain loop, shape (n, P), and its weight."""
    model.load_state_dict(state)
    rows = []
    for i in range(len(examples[0])):
        value = output(model, *(field[i : i + 1] for field in examples)).sum()
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))]))
    return torch.stack(rows), output.weight(model, *examples).detach()


def relative_error(found, want):
    return float((found - want).abs().max() / want.abs().max())


class Prediction:
    """Least squares: the output is the prediction, the weight its residual."""

    def __call__(self, forward, *batch):
        return forward(batch[0]).squeeze(-1)

    def weight(self, forward, *batch):
        return batch[1] - self(forward, *batch)
