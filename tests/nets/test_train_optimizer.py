"""Replicas trained side by side with an optimizer of the caller's: as one after the other, and as promised."""

import pytest
import torch
from torch import nn

from selectlib.nets import GPT, MLP, batch_orders, causal_lm_loss, classification_loss, train
from selectlib.seeding import generator

SEEDS = [100, 101, 107]
TOKENS = (torch.randint(11, (40, 8), generator=generator(100)),)
IMAGES = torch.rand(40, 6, generator=generator(101)).double(), torch.arange(40) % 3
ORDERS = batch_orders([torch.arange(40)] * 3, epochs=2, batch=8, seeds=SEEDS)


def make():
    return GPT(11, 8, 8, 2, 1).double()


def run(**settings):
    return train(make, TOKENS, ORDERS, loss=causal_lm_loss, seeds=SEEDS, **settings)


@pytest.mark.oracle
def test_its_replicas_are_as_one_after_the_other():
    def optimizer(parameters):
        return torch.optim.NAdam(parameters, lr=1e-2, weight_decay=0.1, decoupled_weight_decay=True)

    for seed, order, state in zip(SEEDS, ORDERS, run(optimizer=optimizer, schedule="linear"), strict=True):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = make()
        alone = optimizer(list(model.parameters()))
        for step, rows in enumerate(order):
            alone.param_groups[0]["lr"] = 1e-2 * (1 - step / len(order))
            alone.zero_grad()
            causal_lm_loss(model, TOKENS[0][rows]).mean().backward()
            alone.step()
        for name, value in model.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-7, atol=1e-8)


@pytest.mark.oracle
@pytest.mark.parametrize("at_once", [None, 2])
def test_replicas_with_settings_of_their_own(at_once):
    makers = [
        lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=3e-3),
        lambda p: torch.optim.SGD([{"params": [x for x in p if x.ndim == 3], "lr": 0.1}]),
    ]
    together = run(optimizer=makers, clip=0.5, at_once=at_once)
    for i, (maker, state) in enumerate(zip(makers, together, strict=True)):
        settings = {"loss": causal_lm_loss, "seeds": SEEDS[i : i + 1], "optimizer": [maker], "clip": 0.5}
        (alone,) = train(make, TOKENS, ORDERS[i : i + 1], **settings)
        for name, value in alone.items():
            torch.testing.assert_close(state[name], value, rtol=1e-9, atol=1e-9)
    assert torch.equal(together[2]["norm.scale"], torch.ones(8).double())  # vectors were left out of its groups


def test_callables_have_equal_shares_of_the_replicas():
    seen = []

    def watched(rate):
        def optimizer(parameters):
            seen.append((rate, len(parameters[0])))
            return torch.optim.SGD(parameters, lr=rate)

        return optimizer

    settings = {"loss": causal_lm_loss, "seeds": [*SEEDS, *SEEDS], "schedule": "constant"}
    states = train(make, TOKENS, ORDERS.repeat(2, 1, 1), optimizer=[watched(0.1), watched(0.2)], at_once=4, **settings)
    assert seen == [(0.1, 3), (0.2, 1), (0.2, 2)]  # at_once cuts the second share
    rates = (0.1,) * 3 + (0.2,) * 3
    for rate, seed, order, state in zip(rates, [*SEEDS, *SEEDS], ORDERS.repeat(2, 1, 1), states, strict=True):
        alone = {"loss": causal_lm_loss, "seeds": [seed], "schedule": "constant", "optimizer": watched(rate)}
        (expected,) = train(make, TOKENS, order[None], **alone)
        torch.testing.assert_close(state["tokens.weight"], expected["tokens.weight"], rtol=1e-9, atol=1e-9)


def test_adamw_by_a_factory_is_adamw_bit_for_bit():
    settings = {"schedule": "cosine", "warmup": 3, "clip": 0.5, "at_once": 2}
    adamw = lambda p: torch.optim.AdamW(p, lr=3e-3, weight_decay=0.1, betas=(0.8, 0.99))  # noqa: E731
    own = run(lr=3e-3, weight_decay=0.1, betas=(0.8, 0.99), **settings)
    for factory in (adamw, [adamw] * 3):
        for one, other in zip(own, run(optimizer=factory, **settings), strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one)


def test_each_group_of_parameters_keeps_its_own_largest_rate():
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            rates.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    def optimizer(parameters):
        matrices = [p for p in parameters if p.ndim == 3]
        vectors = [p for p in parameters if p.ndim == 2]
        assert len(matrices) == len(vectors) == 2 and {len(p) for p in parameters} == {3}
        return Watched([{"params": matrices, "lr": 0.4, "weight_decay": 0.1}, {"params": vectors, "lr": 0.2}])

    orders = ORDERS[:, :4]
    train(lambda: MLP([6, 4, 3]).double(), IMAGES, orders, loss=classification_loss, seeds=SEEDS, optimizer=optimizer)
    assert torch.tensor(rates).allclose(torch.tensor([[0.4, 0.2]]) * torch.tensor([[1.0], [0.75], [0.5], [0.25]]))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({}, ValueError, "lr must be above 0, got None"),
        ({"lr": 0.1, "optimizer": torch.optim.SGD}, ValueError, "must be left out with an optimizer"),
        ({"weight_decay": 0.1, "optimizer": torch.optim.SGD}, ValueError, "must be left out with an optimizer"),
        ({"betas": (0.9, 0.99), "optimizer": torch.optim.SGD}, ValueError, "must be left out with an optimizer"),
        ({"optimizer": []}, ValueError, "callables that divide the 3 replicas, got 0"),
        ({"optimizer": [torch.optim.SGD] * 2}, ValueError, "callables that divide the 3 replicas, got 2"),
        ({"optimizer": lambda parameters: nn.Identity()}, TypeError, r"optimizer must return a torch\.optim"),
    ],
)
def test_wrong_arguments_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        run(**settings)
