"""Pseudo-labels: means of probabilities, and their refinement."""

import pytest
import torch
from torch import nn

from selectlib.seeding import generator
from selectlib.support import ensemble_proba, refine_pseudo_labels

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


class Says(nn.Module):
    """Gives the same probabilities for whatever it sees."""

    def __init__(self, *proba):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(proba, dtype=torch.float64).log())

    def forward(self, inputs):
        return self.logits.expand(len(inputs), -1)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_probabilities_are_averaged_and_not_logits(device):
    models = [Says(0.90, 0.05, 0.05).to(device), Says(0.02, 0.49, 0.49).to(device)]
    proba = ensemble_proba(*models, X=torch.zeros(4, 1))
    expected = torch.tensor([[0.46, 0.27, 0.27]], dtype=torch.float64, device=device).expand(4, 3)
    torch.testing.assert_close(proba, expected)
    logits = torch.stack([model(torch.zeros(1, 1)) for model in models]).mean(0)
    assert proba.argmax(1).tolist() == [0] * 4 and int(logits.argmax()) != 0


@pytest.mark.parametrize("batch_size", [1, 3, 512])
def test_networks_are_evaluated_without_a_trace(batch_size):
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 4))
    net[1].eval()
    X, before = torch.randn(7, 3, generator=generator(100)), {k: v.clone() for k, v in net.state_dict().items()}
    proba = ensemble_proba(net, X=X, batch_size=batch_size)
    assert [module.training for module in net] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not proba.requires_grad
    torch.testing.assert_close(proba, net.eval()(X).softmax(1).detach())


def by_definition(F, proba, n_iter):
    """Item by item and class by class."""
    weights = proba.clone()
    for _ in range(n_iter):
        means = [sum(w * f for w, f in zip(column, F, strict=True)) / column.sum() for column in weights.T]
        labels = []
        for f in F:
            cosines = [torch.cosine_similarity(f, mean, dim=0) for mean in means]
            cosines = [cosine if w.sum() else -2.0 for cosine, w in zip(cosines, weights.T, strict=True)]
            labels.append(max(range(len(means)), key=lambda c: cosines[c]))
        weights = torch.zeros_like(proba)
        for i, label in enumerate(labels):
            weights[i, label] = 1
    return labels


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n_iter", [1, 2, 3])
def test_refinement_follows_its_definition(n_iter, device):
    for seed in range(100, 105):
        draws = generator(seed)
        F = torch.randn(30, 3, dtype=torch.float64, generator=draws) + 0.5
        proba = torch.randn(30, 5, dtype=torch.float64, generator=draws).softmax(1)
        found = refine_pseudo_labels(F.to(device), proba.to(device), n_iter=n_iter)
        assert found.dtype == torch.int64 and found.device.type == device
        assert found.tolist() == by_definition(F, proba, n_iter)


@pytest.mark.oracle
def test_lengths_of_features_count_in_the_means_alone():
    draws = generator(100)
    F = torch.randn(40, 4, dtype=torch.float64, generator=draws)
    proba = torch.randn(40, 3, dtype=torch.float64, generator=draws).softmax(1)
    labels = refine_pseudo_labels(F, proba)
    assert torch.equal(refine_pseudo_labels(3 * F, proba), labels)
    assert torch.equal(refine_pseudo_labels(F, 0.5 * proba), labels)
    order = torch.randperm(40, generator=draws)
    assert torch.equal(refine_pseudo_labels(F[order], proba[order]), labels[order])
    assert torch.equal(refine_pseudo_labels(F, proba[:, [2, 0, 1]]), torch.tensor([1, 2, 0])[labels])


def test_modes_win_over_wrong_labels():
    draws = generator(100)
    true = torch.arange(300) % 3
    F = torch.eye(3)[true] + 0.1 * torch.randn(300, 3, generator=draws)
    wrong = torch.rand(300, generator=draws) < 0.4
    given = torch.where(wrong, (true + 1) % 3, true)
    proba = 0.1 + 0.7 * torch.eye(3)[given]
    assert (proba.argmax(1) == true).float().mean() < 0.65
    assert (refine_pseudo_labels(F, proba) == true).all()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((), {}, ValueError, "models must name at least one network"),
        ((len,), {}, TypeError, r"models\[0\] must be a torch.nn.Module"),
        ((Says(0.5, 0.5),), {"X": torch.zeros(0, 1)}, ValueError, "X must hold at least 1 input"),
        ((Says(0.5, 0.5),), {"X": torch.zeros(2, 1, dtype=torch.int64)}, TypeError, "X must be a tensor of floats"),
        ((Says(0.5, 0.5),), {"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ((Says(0.5, 0.5), Says(0.2, 0.3, 0.5)), {}, ValueError, r"logits of one shape, got \(2, 2\), \(2, 3\)"),
    ],
)
def test_bad_networks_and_inputs_are_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        ensemble_proba(*arguments, **{"X": torch.zeros(2, 1), **options})


@pytest.mark.parametrize(
    ("F", "proba", "n_iter", "error", "message"),
    [
        (torch.ones(2, 3), torch.ones(3, 2), 3, ValueError, "proba must have one row an item of F"),
        (torch.ones(2), torch.ones(2, 2), 3, ValueError, r"F must be 2-D .* got shape \(2,\)"),
        (torch.ones(2, 3), -torch.ones(2, 2), 3, ValueError, "proba must hold no negative number"),
        (torch.full((2, 3), torch.nan), torch.ones(2, 2), 3, ValueError, "F must be finite"),
        (torch.ones(2, 3), torch.ones(2, 2, dtype=torch.int64), 3, TypeError, "proba must be a tensor of floats"),
        (torch.ones(2, 3), torch.ones(2, 2), 0, ValueError, "n_iter must be at least 1"),
    ],
)
def test_bad_features_and_probabilities_are_named(F, proba, n_iter, error, message):
    with pytest.raises(error, match=message):
        refine_pseudo_labels(F, proba, n_iter=n_iter)
