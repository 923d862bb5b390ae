"""The reference networks, their losses, the orders of examples, and evaluation."""

import pytest
import torch
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional as F

from selectlib.nets import (
    GPT,
    MLP,
    ConvNet,
    ResNet9,
    batch_orders,
    causal_lm_loss,
    classification_loss,
    evaluate,
)
from selectlib.seeding import generator


def tokens(n, length, vocabulary, seed=100):
    return torch.randint(vocabulary, (n, length), generator=generator(seed))


def awake(model, scale=0.3, seed=101):
    """The model with large random parameters, so that every part of it matters."""
    source = generator(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=source, dtype=parameter.dtype))
    return model


@pytest.mark.oracle
def test_gpt_equals_a_transformer_spelled_out():
    model, text = awake(GPT(13, 9, 12, 3, 2).double()), tokens(4, 9, 13)
    p = dict(model.named_parameters())

    def normed(x, scale):
        return F.rms_norm(x, x.shape[-1:], scale, eps=1e-6)

    x = p["tokens.weight"][text] + p["positions.weight"]
    for block in ("blocks.0.", "blocks.1."):
        read = normed(x, p[block + "attention_norm.scale"]) @ p[block + "attention.read.weight"].T
        query, key, value = (part.view(4, 9, 3, 4).transpose(1, 2) for part in read.chunk(3, -1))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + mixed.transpose(1, 2).reshape(4, 9, 12) @ p[block + "attention.back.weight"].T
        inner = F.gelu(normed(x, p[block + "norm.scale"]) @ p[block + "widen.weight"].T)
        x = x + inner @ p[block + "back.weight"].T
    expected = normed(x, p["norm.scale"]) @ p["tokens.weight"].T
    torch.testing.assert_close(model(text), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.oracle
@pytest.mark.parametrize("at", range(1, 9))
def test_gpt_never_looks_ahead(at):
    model, text = awake(GPT(13, 9, 12, 3, 2)), tokens(4, 9, 13)
    changed = text.clone()
    changed[:, at:] = (changed[:, at:] + 5) % 13
    before, after = model(text), model(changed)
    torch.testing.assert_close(before[:, :at], after[:, :at])
    assert bool((before[:, at:] != after[:, at:]).any(-1).all())


def example_of(model):
    """Five examples that the model reads, and its loss of each."""
    if isinstance(model, GPT):
        return (tokens(5, 8, 13),), causal_lm_loss
    side = 16 if isinstance(model, ResNet9) else 8
    return (torch.rand(5, 3, side, side, generator=generator(100), dtype=torch.float64), torch.arange(5) % 4), (
        classification_loss
    )


MODELS = {
    "mlp": lambda: MLP([192, 7, 4]),
    "convnet": lambda: ConvNet((3, 8, 8), (4, 5), 6, 4),
    "resnet": lambda: ResNet9(2, classes=4),
    "gpt": lambda: GPT(13, 8, 12, 3, 2),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", MODELS)
def test_single_gradients_and_forward_derivatives_agree(name):
    """Per-sample gradients by vmap, a forward-mode derivative of the whole batch, and a difference quotient."""
    model = awake(MODELS[name]().double()).eval()
    examples, loss = example_of(model)
    parameters = {key: value.detach() for key, value in model.named_parameters()}
    buffers = dict(model.named_buffers())
    source = generator(103)
    direction = {
        key: torch.randn(value.shape, generator=source, dtype=value.dtype) for key, value in parameters.items()
    }

    def losses(parameters, *batch):
        return loss(lambda *inputs: functional_call(model, {**parameters, **buffers}, inputs), *batch)

    def one(parameters, *example):
        return losses(parameters, *(part.unsqueeze(0) for part in example))[0]

    each = vmap(grad(one), in_dims=(None, *[0] * len(examples)))(parameters, *examples)
    by_gradient = sum((each[key] * direction[key]).flatten(1).sum(1) for key in parameters)
    _, forward = jvp(lambda p: losses(p, *examples), (parameters,), (direction,))
    torch.testing.assert_close(by_gradient, forward, rtol=1e-9, atol=1e-9)
    step = 1e-6
    ends = [losses({k: v + s * step * direction[k] for k, v in parameters.items()}, *examples) for s in (1, -1)]
    torch.testing.assert_close((ends[0] - ends[1]) / (2 * step), forward, rtol=1e-4, atol=1e-5)
    assert float(forward.abs().min()) > 1e-3


def test_gpt_starts_near_uniform_and_its_size_is_the_formula():
    vocabulary, context, width, layers = 50, 16, 32, 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(100)
        model = GPT(vocabulary, context, width, 4, layers)
    size = vocabulary * width + context * width + layers * (12 * width**2 + 2 * width) + width
    assert sum(p.numel() for p in model.parameters()) == size
    start = causal_lm_loss(model, tokens(50, 16, vocabulary)).mean().detach()
    assert abs(float(start) - float(torch.tensor(50.0).log())) < 0.3


@pytest.mark.oracle
def test_losses_equal_torch():
    source = generator(100)
    logits = 5 * torch.randn(6, 9, generator=source)
    labels = torch.randint(9, (6,), generator=source)
    expected = F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(classification_loss(lambda x: x, logits, labels), expected)
    text, table = tokens(6, 7, 9), torch.randn(9, 9, generator=source)
    mask = torch.rand(6, 7, generator=source) < 0.5
    mask[0] = False
    mask[1], mask[1, 0] = False, True  # the first token is never counted
    losses = F.cross_entropy(table[text[:, :-1]].transpose(1, 2), text[:, 1:], reduction="none")
    torch.testing.assert_close(causal_lm_loss(lambda t: table[t], text), losses.mean(1))
    masked = causal_lm_loss(lambda t: table[t], text, mask)
    assert masked[:2].tolist() == [0, 0]
    expected = torch.stack([row[keep].mean() for row, keep in zip(losses, mask[:, 1:], strict=True)][2:])
    torch.testing.assert_close(masked[2:], expected)


@pytest.mark.oracle
def test_losses_survive_large_logits():
    logits = torch.tensor([[1e4, -1e4, 0.0]])
    assert classification_loss(lambda x: x, logits, torch.tensor([0])).tolist() == [0]
    assert classification_loss(lambda x: x, logits, torch.tensor([1])).tolist() == [2e4]


@pytest.mark.oracle
def test_each_epoch_of_an_order_holds_the_subset_once():
    subsets = torch.stack([torch.randperm(100, generator=generator(s))[:30] for s in (100, 101, 102)])
    orders = batch_orders(subsets, epochs=4, batch=10, seeds=[100, 101, 100])
    assert orders.shape == (3, 12, 10)
    for subset, order in zip(subsets, orders, strict=True):
        epochs = order.view(4, 30)
        assert torch.equal(epochs.sort(1).values, subset.sort().values.expand(4, 30))
        assert not torch.equal(epochs[0], epochs[1])
    again = batch_orders(subsets, epochs=4, batch=10, seeds=[100, 101, 100])
    assert torch.equal(orders, again)
    same = batch_orders(subsets[[0, 0]], epochs=4, batch=10, seeds=[100, 101])
    assert not torch.equal(same[0], same[1])


def test_epochs_need_not_be_whole():
    whole = torch.arange(8000)
    assert batch_orders([whole], epochs=3.2, batch=64, seeds=[1]).shape == (1, 400, 64)
    assert batch_orders([whole[:100]], epochs=1, batch=33, seeds=[1]).shape == (1, 3, 33)
    runs_on = batch_orders([whole[:100]], epochs=2, batch=75, seeds=[1])
    assert runs_on.shape == (1, 2, 75)
    assert torch.equal(runs_on.flatten()[:100].sort().values, whole[:100])


@pytest.mark.parametrize(
    ("subsets", "settings", "message"),
    [
        ([torch.arange(3), torch.arange(4)], {}, r"equally many examples, at least 1 each, got \[3, 4\]"),
        ([], {}, "equally many examples"),
        ([torch.arange(0)], {}, "equally many examples"),
        ([torch.arange(3)], {"seeds": [1, 2]}, "one seed a subset, got 2 for 1"),
        ([torch.arange(3)], {"batch": 4}, "less than one batch of 4"),
        ([torch.arange(3)], {"batch": 0}, "batch must be at least 1"),
    ],
)
def test_bad_orders_are_refused(subsets, settings, message):
    with pytest.raises(ValueError, match=message):
        batch_orders(subsets, **({"epochs": 1, "batch": 1, "seeds": [1] * len(subsets)} | settings))


@pytest.mark.oracle
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_evaluation_runs_each_state_in_evaluation_mode(batch):
    make = lambda: awake(ResNet9(2, classes=4), seed=next(seeds)).train()  # noqa: E731
    seeds = iter((100, 101, 102))
    models = [make(), make()]
    examples = torch.rand(20, 3, 16, 16, generator=generator(100)), torch.arange(20) % 4
    host = make()
    found = evaluate(host, [m.state_dict() for m in models], examples, classification_loss, batch)
    assert host.training and not found.requires_grad
    for row, model in zip(found, models, strict=True):
        expected = F.cross_entropy(model.eval()(examples[0]), examples[1], reduction="none")
        torch.testing.assert_close(row, expected.detach(), rtol=1e-4, atol=1e-5)


def test_evaluation_leaves_the_mode_when_it_fails():
    model = MLP([2, 2])
    with pytest.raises(RuntimeError):
        evaluate(model, [model.state_dict()], (torch.zeros(3, 5), torch.zeros(3).long()), classification_loss)
    assert model.training


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP([3]), "widths must name at least inputs and outputs"),
        (lambda: MLP([3, 0]), r"widths\[1\] must be at least 1"),
        (lambda: GPT(10, 10, 10, 3), "width must be a multiple of heads"),
        (lambda: GPT(0, 10), "vocab_size must be at least 1"),
        (lambda: GPT(5, 4)(torch.zeros(1, 5, dtype=torch.int64)), "at most the context's 4 positions, got 5"),
        (lambda: ConvNet((1, 3, 8)), "images of at least 4 x 4, got 3 x 8"),
        (lambda: ConvNet(widths=()), "at least one block"),
        (lambda: ResNet9(0), "width must be at least 1"),
        (lambda: evaluate(MLP([2, 2]), [], (torch.zeros(1, 2),), classification_loss), "at least one state dict"),
    ],
)
def test_bad_sizes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_sizes_must_be_ints():
    with pytest.raises(TypeError, match="layers must be an int, got float"):
        GPT(5, 5, 4, 2, 1.0)
