"""Gradients and directional derivatives of a module at a checkpoint, against plain loops of autograd."""

import pytest
import torch
from torch import nn

from selectlib.corpora._gradients import (
    Linearization,
    evaluating,
    load_state,
    parameter_names,
    parameter_table,
)
from selectlib.corpora._outputs import CausalLMMargin, CorrectClassMargin
from selectlib.nets import GPT, MLP, ConvNet
from selectlib.seeding import generator


def randomised(model, seed=100):
    """The model with parameters that are large enough to be nonlinear, in float64."""
    draws = generator(seed)
    with torch.no_grad():
        for param in model.parameters():
            param.copy_(0.4 * torch.randn(param.shape, generator=draws))
    return model.double()


def classifier(n=6, seed=101):
    draws = generator(seed)
    examples = torch.randn(n, 12, dtype=torch.float64, generator=draws), torch.randint(3, (n,), generator=draws)
    return randomised(MLP([12, 9, 3])), CorrectClassMargin(), examples


def images(n=4, seed=102):
    draws = generator(seed)
    examples = torch.randn(n, 1, 8, 8, dtype=torch.float64, generator=draws), torch.randint(3, (n,), generator=draws)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten())
    net.append(nn.Linear(144, 3))
    net[1].running_mean += 0.7
    net[1].running_var *= 2.5
    return randomised(net), CorrectClassMargin(), examples


def language(n=5, seed=103):
    draws = generator(seed)
    tokens, mask = torch.randint(11, (n, 9), generator=draws), torch.rand(n, 9, generator=draws) < 0.5
    return randomised(GPT(11, 8, width=8, heads=2, layers=2)), CausalLMMargin(), (tokens, mask)


def at(model, checkpoint=None, parameters=None):
    state = model.state_dict() if checkpoint is None else checkpoint
    return Linearization(model, state, parameter_names(model, parameters))


def by_autograd(model, output, examples):
    """One backward pass an example, with the model itself."""
    model.eval()
    rows = []
    for i in range(len(examples[0])):
        value = output(model, *(field[i : i + 1] for field in examples)).sum()
        parts = torch.autograd.grad(value, [p for p in model.parameters() if p.requires_grad])
        rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows)


@pytest.mark.oracle
@pytest.mark.parametrize("case", [classifier, images, language])
def test_gradients_are_those_of_a_plain_loop(case):
    model, output, examples = case()
    want = by_autograd(model, output, examples)
    lin = at(model.train())
    with evaluating(model):
        grads, weights = lin.gradients(output, examples)
        mean, unreached = lin.mean_gradient(output, (tuple(f[i : i + 3] for f in examples) for i in (0, 3)))
    assert lin.size == want.shape[1] and unreached == []
    for name, shape, offset in lin.table:
        assert grads[name].shape[1:] == shape
        torch.testing.assert_close(grads[name].flatten(1), want[:, offset : offset + grads[name][0].numel()])
    torch.testing.assert_close(mean, want.mean(0))
    torch.testing.assert_close(weights, output.weight(model.eval(), *examples).detach())


@pytest.mark.oracle
@pytest.mark.parametrize("case", [classifier, images, language])
def test_derivatives_are_products_with_the_gradients(case):
    model, output, examples = case()
    want = by_autograd(model, output, examples)
    direction = torch.randn(want.shape[1], dtype=torch.float64, generator=generator(104))
    with evaluating(model):
        found, weights = at(model).derivatives(output, direction, examples)
    torch.testing.assert_close(found, want @ direction, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(weights, output.weight(model.eval(), *examples).detach())
    assert not found.requires_grad


@pytest.mark.parametrize("case", [classifier, images, language])
def test_the_models_own_parameters_play_no_part(case):
    model, output, examples = case()
    checkpoint = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    want = by_autograd(model, output, examples)
    other = {name: torch.full_like(tensor, 3) for name, tensor in checkpoint.items()}
    model.load_state_dict(other)
    lin = at(model, checkpoint)
    with evaluating(model):
        grads, _ = lin.gradients(output, examples)
    torch.testing.assert_close(torch.cat([grads[name].flatten(1) for name, _, _ in lin.table], 1), want)
    assert all(torch.equal(tensor, other[name]) for name, tensor in model.state_dict().items())
    assert all(param.grad is None for param in model.parameters())


def test_evaluation_mode_is_lent_and_given_back():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(3), nn.Dropout()))
    model.train()
    model[1][0].eval()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise ZeroDivisionError
    assert [module.training for module in model.modules()] == [True, True, True, False, True]


def test_tied_parameters_count_once():
    model, _, _ = language()
    assert at(model).size == sum(param.numel() for param in model.parameters())
    tied = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False)).double()
    tied[2].weight = tied[0].weight
    x, y = torch.randn(3, 4, dtype=torch.float64, generator=generator(105)), torch.tensor([0, 1, 2])
    lin = at(tied)
    assert [name for name, _, _ in lin.table] == ["0.weight"]
    grads, _ = lin.gradients(CorrectClassMargin(), (x, y))
    torch.testing.assert_close(grads["0.weight"].flatten(1), by_autograd(tied, CorrectClassMargin(), (x, y)))


def test_only_the_parameters_asked_for():
    model, output, examples = classifier()
    names = [name for name, _ in model.named_parameters()]
    want = by_autograd(model, output, examples)
    lin = at(model, parameters=[names[2], names[0]])
    assert [name for name, _, _ in lin.table] == [names[0], names[2]]
    _, shape, offset = parameter_table(model, names)[2]
    grads, _ = lin.gradients(output, examples)
    torch.testing.assert_close(grads[names[2]].flatten(1), want[:, offset : offset + shape[0] * shape[1]])
    model.get_parameter(names[0]).requires_grad_(False)
    assert parameter_names(model, None) == names[1:]


def test_parameters_that_the_output_does_not_reach():
    model, output, examples = classifier()
    model.spare = nn.Linear(2, 2).double()
    model.forward = lambda x: nn.Sequential(*list(model)[:-1])(x)
    lin = at(model)
    mean, unreached = lin.mean_gradient(output, iter([examples]))
    assert unreached == ["spare.weight", "spare.bias"]
    assert not mean[-6:].any() and mean[:-6].any()


def test_models_that_return_logits_in_an_object():
    class Wrapped(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, inputs):
            return type("Found", (), {"logits": self.model(inputs)})()

    model, output, examples = classifier()
    plain, _ = at(model).gradients(output, examples)
    wrapped, _ = at(Wrapped(model)).gradients(output, examples)
    for a, b in zip(plain.values(), wrapped.values(), strict=True):
        torch.testing.assert_close(a, b)


def test_models_that_draw_are_refused():
    class Noisy(nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs) * torch.rand(())

    x, y = torch.randn(3, 4, generator=generator(106)), torch.tensor([0, 1, 1])
    with pytest.raises(RuntimeError, match="randomness"):
        at(Noisy(4, 2)).gradients(CorrectClassMargin(), (x, y))


def test_checkpoints_in_files_and_tensors_of_another_dtype(tmp_path):
    model, _, _ = images()
    state = {
        name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in model.state_dict().items()
    }
    torch.save(state, tmp_path / "model.pt")
    for checkpoint in (state, tmp_path / "model.pt", str(tmp_path / "model.pt")):
        found = load_state(model, checkpoint)
        assert all(found[name].dtype == tensor.dtype for name, tensor in model.state_dict().items())
        torch.testing.assert_close(found["1.running_mean"], state["1.running_mean"].double())
    assert at(model, state).digest() == at(model, tmp_path / "model.pt").digest()
    state["1.running_var"] = state["1.running_var"] + 1e-6
    assert at(model, state).digest() != at(model, tmp_path / "model.pt").digest()


def test_checkpoints_that_do_not_fit_are_refused(tmp_path):
    model, _, _ = classifier()
    state = dict(model.state_dict())
    last = list(state)[-1]
    with pytest.raises(ValueError, match="it lacks .*" + last):
        load_state(model, {name: tensor for name, tensor in state.items() if name != last})
    with pytest.raises(ValueError, match=r"has \['more'\] that the model lacks"):
        load_state(model, {**state, "more": torch.zeros(1)})
    with pytest.raises(ValueError, match=rf"{last} of shape \(7,\), the model \(3,\)"):
        load_state(model, {**state, last: torch.zeros(7)})
    with pytest.raises(TypeError, match="state dicts or paths"):
        load_state(model, [1, 2])
    with pytest.raises(FileNotFoundError):
        load_state(model, tmp_path / "missing.pt")


def test_parameters_that_cannot_be_taken_are_refused():
    model, _, _ = classifier()
    with pytest.raises(ValueError, match=r"parameters names \['nose'\]"):
        parameter_names(model, ["nose"])
    with pytest.raises(ValueError, match="no parameter"):
        parameter_names(model, [])
    with pytest.raises(ValueError, match="no parameter"):
        parameter_names(model.requires_grad_(False), None)
    mixed = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    for wrong in (mixed, nn.Linear(2, 2).bfloat16()):
        with pytest.raises(ValueError, match="must be float32, or float64, on one device"):
            parameter_names(wrong, None)


def test_chunks_shrink_as_parameters_and_activations_grow():
    sizes = []
    for width in (64, 128, 256):
        model = ConvNet((1, 16, 16), widths=(width, 2 * width), hidden=2 * width)
        x = torch.zeros(1, 1, 16, 16), torch.zeros(1, dtype=torch.int64)
        lin = at(model)
        sizes.append([lin.rows_at_once(CorrectClassMargin(), x, each_gradient=each) for each in (True, False)])
        assert 1 <= sizes[-1][0] <= sizes[-1][1]
        assert sizes[-1][0] * lin.size * 4 <= 2**28
    assert sizes[0][0] > sizes[1][0] > sizes[2][0]
