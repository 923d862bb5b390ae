"""The report: its shares counted by hand, its rule on every side of its bounds, and no label anywhere."""

import inspect

import pytest
import torch

from selectlib.seeding import generator
from selectlib.support import SelectionReport, refine_pseudo_labels, selection_report
from selectlib.support._report import _advice

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def rows(*shape, seed):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_the_shares_are_what_counting_gives(device):
    f, f_adapted = rows(50, 6, seed=100).to(device), rows(50, 8, seed=101).to(device)
    p, p_adapted = rows(50, 4, seed=102).softmax(1).to(device), rows(50, 4, seed=103).softmax(1).to(device)
    report = selection_report(f, f_adapted, p, p_adapted, 1)
    ensemble = (p + p_adapted) / 2
    labels = [max(range(4), key=lambda c: row[c]) for row in ensemble.tolist()]
    refined, refined_source = (refine_pseudo_labels(F, ensemble).tolist() for F in (f_adapted, f))
    pairs = zip(p.argmax(1).tolist(), p_adapted.argmax(1).tolist(), strict=True)
    assert report.agreement == pytest.approx(sum(a == b for a, b in pairs) / 50)
    assert report.changed == pytest.approx(sum(a != b for a, b in zip(labels, refined, strict=True)) / 50)
    both = zip(refined_source, refined, strict=True)
    assert report.agreement_refined == pytest.approx(sum(a == b for a, b in both) / 50)
    assert report.sizes == tuple(labels.count(c) for c in range(4))
    assert report.sizes_refined == tuple(refined.count(c) for c in range(4))
    assert report.n_shots == 1 and report.advice == _advice(1, report.changed, report.agreement_refined)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("n_shots", "changed", "agreement_refined", "advice"),
    [
        (1, 0.0, 1.0, "per_class"),
        (10, 0.2, 0.0, "per_class"),
        (1, 0.21, 0.5, "refined"),
        (2, 1.0, 1.0, "refined"),
        (2, 0.21, 0.49, "global"),
        (3, 0.21, 1.0, "global"),
    ],
)
def test_the_rule(n_shots, changed, agreement_refined, advice):
    assert _advice(n_shots, changed, agreement_refined) == advice


@pytest.mark.oracle
def test_pseudo_labels_that_follow_the_features_are_trusted_and_others_are_not():
    classes = torch.arange(90) % 3
    F = torch.eye(3)[classes] + 0.1 * torch.randn(90, 3, generator=generator(100))
    right = torch.eye(3)[classes] * 0.8 + 0.2 / 3
    wrong = right[torch.randperm(90, generator=generator(101))]
    half = torch.where((torch.arange(90) < 54)[:, None], right, wrong)
    assert selection_report(F, F, right, right, 3).advice == "per_class"
    report = selection_report(F, F, half, half, 1)
    assert report.advice == "refined" and 0.2 < report.changed < 0.4 and report.agreement_refined == 1.0
    noise = torch.randn(90, 3, generator=generator(102))
    assert selection_report(noise, F, wrong, half, 1).advice == "global"


def test_it_is_never_told_a_label():
    assert not any("label" in name for name in inspect.signature(selection_report).parameters)


def test_printed_it_is_a_table():
    lines = str(SelectionReport(3, 0.5, 1.0, 0.0, (3, 17), (10, 10), "global")).splitlines()
    assert [line.split()[-1] for line in lines] == ["pool", "%", "%", "10", "global"]
    assert "100.0 %" in lines[1] and "3 items" in lines[3] and "K = 3" in lines[4]


def test_probabilities_of_two_shapes_are_refused():
    F = torch.zeros(4, 2)
    with pytest.raises(ValueError, match=r"must have the same shape, got \(4, 2\) and \(4, 3\)"):
        selection_report(F, F, torch.full((4, 2), 0.5), torch.full((4, 3), 0.3), 1)


@pytest.mark.parametrize(("given", "error"), [(0, ValueError), (1.0, TypeError), (True, TypeError)])
def test_shots_that_are_not_allowed_are_named(given, error):
    F, p = torch.zeros(4, 2), torch.full((4, 2), 0.5)
    with pytest.raises(error, match="n_shots must be"):
        selection_report(F, F, p, p, given)
