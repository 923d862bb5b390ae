"""The only door to the target's labels."""

import math

import pytest
import torch

from selectlib.queries import LabelOracle

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
LABELS = torch.tensor([7, 3, 3, 9, 1])


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_it_gives_the_labels_asked_for_and_counts_them(device):
    oracle = LabelOracle(LABELS.to(device), budget=4)
    first = oracle.query(torch.tensor([3, 0], device=device))
    second = oracle.query(torch.tensor([4], device=device))
    assert first.tolist() == [9, 7] and second.tolist() == [1]
    assert first.device.type == oracle.queried.device.type == device and first.dtype == torch.int64
    assert (oracle.budget, oracle.spent, oracle.remaining, len(oracle)) == (4, 3, 1, 5)
    assert oracle.queried.tolist() == [3, 0, 4]


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("idx", "message"),
    [
        ([2, 3, 4], "asks for 3 labels, but 2 of the budget of 3 remain"),
        ([2, 2], "once in all, but 2 comes again"),
        ([2, 0], "once in all, but 0 comes again"),
        ([2, 5], "from 0 to 4, got 5"),
        ([2, -1], "from 0 to 4, got -1"),
    ],
    ids=["over budget", "repeat", "asked before", "too large", "negative"],
)
def test_a_refused_query_spends_nothing(idx, message):
    oracle = LabelOracle(LABELS, budget=3)
    oracle.query(torch.tensor([0]))
    with pytest.raises(ValueError, match=message):
        oracle.query(torch.tensor(idx))
    assert oracle.spent == 1 and oracle.queried.tolist() == [0]
    assert oracle.query(torch.tensor([2, 3])).tolist() == [3, 9]


@pytest.mark.oracle
def test_nothing_public_gives_a_label_unasked():
    oracle = LabelOracle(LABELS, budget=2)
    oracle.query(torch.tensor([1]))
    for name in dir(oracle):
        if not name.startswith("_"):
            value = getattr(oracle, name)
            assert callable(value) or isinstance(value, int) or torch.equal(value, torch.tensor([1])), name
    assert {name: value.tolist() for name, value in oracle.state_dict().items()} == {"queried": [1]}
    assert repr(oracle) == "LabelOracle(5 images, 1 of 2 labels spent)"


def test_changes_outside_do_not_reach_it():
    labels = LABELS.clone()
    oracle = LabelOracle(labels, budget=2)
    asked = torch.tensor([0])
    oracle.query(asked)
    labels.zero_()
    asked.fill_(3)
    oracle.queried.fill_(4)
    oracle.state_dict()["queried"].fill_(4)
    assert oracle.queried.tolist() == [0]
    assert oracle.query(torch.tensor([3])).tolist() == [9]


def test_nothing_asked_is_nothing_spent():
    oracle = LabelOracle(LABELS, budget=0)
    assert oracle.query(torch.empty(0, dtype=torch.int64)).tolist() == []
    assert oracle.spent == 0


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_grades_are_accuracies_of_all_of_the_rest_and_of_the_queried(device):
    oracle = LabelOracle(LABELS.to(device), budget=2)
    predictions = torch.tensor([7, 0, 3, 9, 0], device=device)
    assert oracle.grade(predictions)[:2] == (3 / 5, 3 / 5)
    assert math.isnan(oracle.grade(predictions).queried)
    oracle.query(torch.tensor([4, 0], device=device))
    assert oracle.grade(predictions) == (3 / 5, 2 / 3, 1 / 2)
    everything = oracle.fresh(5)
    everything.query(torch.arange(5, device=device))
    assert everything.grade(predictions)[::2] == (3 / 5, 3 / 5) and math.isnan(everything.grade(predictions).rest)


def test_a_fresh_one_has_the_same_labels_and_spends_by_itself():
    oracle = LabelOracle(LABELS, budget=2)
    oracle.query(torch.tensor([1, 2]))
    fresh = oracle.fresh()
    assert (fresh.budget, fresh.spent, oracle.fresh(3).budget) == (2, 0, 3)
    assert fresh.query(torch.tensor([2, 0])).tolist() == [3, 7]
    assert oracle.queried.tolist() == [1, 2]


def test_a_state_is_taken_up_by_another():
    oracle = LabelOracle(LABELS, budget=3)
    oracle.query(torch.tensor([4, 1]))
    resumed = oracle.fresh()
    resumed.load_state_dict(oracle.state_dict())
    assert resumed.queried.tolist() == [4, 1] and resumed.remaining == 1
    with pytest.raises(ValueError, match="but 4 comes again"):
        resumed.query(torch.tensor([4]))
    with pytest.raises(ValueError, match="2 queries, but the budget is 1"):
        oracle.fresh(1).load_state_dict(oracle.state_dict())
    with pytest.raises(ValueError, match="from 0 to 4"):
        resumed.load_state_dict({"queried": torch.tensor([5])})
    assert resumed.queried.tolist() == [4, 1]


@pytest.mark.parametrize(
    ("labels", "budget", "error", "message"),
    [
        ([1, 2], 1, TypeError, "labels must be a tensor of ints, got list"),
        (torch.tensor([1.0]), 1, TypeError, "labels must be a tensor of ints, got torch.float32"),
        (torch.tensor([[1]]), 1, ValueError, "labels must be 1-D"),
        (torch.tensor([], dtype=torch.int64), 0, ValueError, "at least 1 label"),
        (LABELS, 6, ValueError, "budget must be from 0 to 5, got 6"),
        (LABELS, -1, ValueError, "budget must be from 0"),
        (LABELS, 2.0, TypeError, "budget must be an int, got float"),
        (LABELS, True, TypeError, "budget must be an int, got bool"),
    ],
)
def test_bad_arguments_are_refused(labels, budget, error, message):
    with pytest.raises(error, match=message):
        LabelOracle(labels, budget)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda oracle: oracle.query([1]), TypeError, "idx must be a tensor of int64, got list"),
        (lambda oracle: oracle.query(torch.tensor([[1]])), ValueError, "idx must be 1-D"),
        (lambda oracle: oracle.query(torch.tensor([1.0])), TypeError, "got torch.float32"),
        (lambda oracle: oracle.query(torch.ones(5, dtype=torch.bool)), TypeError, "got torch.bool"),
        (lambda oracle: oracle.grade(torch.ones(5)), TypeError, "predictions must be a tensor of ints"),
        (lambda oracle: oracle.grade(LABELS[:4]), ValueError, r"predictions must have shape \(5,\)"),
        (lambda oracle: oracle.fresh(6), ValueError, "budget must be from 0 to 5"),
    ],
)
def test_bad_calls_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(LabelOracle(LABELS, budget=2))
