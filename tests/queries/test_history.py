"""What happened to one model."""

import copy
import math

import pytest
import torch

from selectlib.queries import History


def test_an_entry_holds_what_was_measured_and_nan_for_the_rest():
    history = History()
    history.append(0, test=0.25, auroc=1.0)
    history.append(0, transductive=0.5, rest=0.0, queried=1.0)
    assert len(history) == 2 and history.labels == [0, 0]
    assert history.test[0] == 0.25 and history.auroc[0] == 1.0 and history.rest[1] == 0.0 and history.queried[1] == 1.0
    assert history.transductive[1] == 0.5
    missing = [history.transductive[0], history.rest[0], history.queried[0], history.test[1], history.auroc[1]]
    assert all(map(math.isnan, missing))


def test_two_histories_share_nothing():
    first, second = History(), History()
    first.append(3)
    first.picks.append(torch.arange(3))
    copied = copy.deepcopy(first)
    copied.append(4)
    assert len(second) == 0 and second.picks == []
    assert len(first) == 1 and len(copied) == 2


@pytest.mark.parametrize(
    ("labels", "measures", "message"),
    [
        (2, {}, "labels must be at least 3, as in the entry before, got 2"),
        (3, {"test": 1.5}, "test must be from 0 to 1 or NaN, got 1.5"),
        (3, {"auroc": -0.1}, "auroc must be from 0 to 1"),
    ],
)
def test_a_bad_entry_leaves_the_history_as_it_was(labels, measures, message):
    history = History()
    history.append(3)
    with pytest.raises(ValueError, match=message):
        history.append(labels, **measures)
    assert len(history) == 1 and len(history.test) == 1
