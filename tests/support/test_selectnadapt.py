"""SelectNAdapt: what it chooses, and that it always spends the budget on distinct items."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from selectlib.pool import Pool, PoolSelector
from selectlib.seeding import generator
from selectlib.support import SelectNAdapt, class_kmeans, refine_pseudo_labels
from selectlib.support._short import fill_by_probability, shots_of, top_per_class

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def pool_of(seed=100, n=200, d=8, n_classes=4):
    """Features and probabilities of a pool with as many modes as classes, not all of them told apart."""
    rng = np.random.default_rng(seed)
    true = rng.integers(n_classes, size=n)
    Z = 2 * rng.normal(size=(n_classes, d))[true] + rng.normal(size=(n, d))
    logits = 2 * np.eye(n_classes)[true] + rng.normal(size=(n, n_classes))
    return Z, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def nearest_to_own_centre(Z, selector, among=None):
    """The nearest item to each centre, from the attributes alone, by direct subtraction."""
    found = {}
    for c, centers in enumerate(selector.centroids_):
        own = np.flatnonzero(selector.pseudo_labels_ == c)
        distances = np.stack([np.linalg.norm(Z[own] - center, axis=1) for center in centers])
        nearest = distances.argmin(0)
        for j in range(len(centers)):
            members = own[nearest == j]
            if len(members):
                found[c, j] = members[distances[j][nearest == j].argmin()]
    return found


@pytest.mark.oracle
def test_one_shot_is_the_item_nearest_the_mean_of_its_pseudo_class():
    for seed in range(100, 105):
        Z, proba = pool_of(seed)
        selector = SelectNAdapt(1, random_state=seed).fit(Z, proba)
        labels = proba.argmax(1)
        expected = [
            np.flatnonzero(labels == c)[np.linalg.norm(Z[labels == c] - Z[labels == c].mean(0), axis=1).argmin()]
            for c in range(4)
        ]
        assert selector.support_indices_.tolist() == expected
        assert selector.support_class_.tolist() == [0, 1, 2, 3]
        assert selector.shortfall_ == {}
        np.testing.assert_array_equal(selector.pseudo_labels_, labels)


@pytest.mark.oracle
def test_each_item_is_the_nearest_of_its_cluster_to_the_centre():
    Z, proba = pool_of()
    selector = SelectNAdapt(5, random_state=100).fit(Z, proba)
    found = nearest_to_own_centre(Z, selector)
    assert selector.support_indices_.tolist() == [found[key] for key in sorted(found)]
    own = np.stack([np.linalg.norm(Z - center, axis=1) for center in selector.centroids_.reshape(-1, 8)], axis=1)
    own = own.reshape(len(Z), 4, 5)[np.arange(len(Z)), selector.pseudo_labels_].min(1)
    np.testing.assert_allclose(selector.scores_, -own, rtol=1e-12)
    Z32, proba32 = torch.tensor(Z, dtype=torch.float32), torch.tensor(proba)
    again = class_kmeans(Z32, proba32.argmax(1), 5, generator=generator(0))
    assert SelectNAdapt(5, random_state=0).fit(Z32, proba32).centroids_.shape == again.centers.shape


@pytest.mark.oracle
@pytest.mark.parametrize("k", [1, 3, 5])
def test_moving_turning_and_scaling_the_features_changes_nothing(k):
    Z, proba = pool_of()
    chosen = SelectNAdapt(k, random_state=100).fit(Z, proba).support_indices_
    turn = np.linalg.qr(np.random.default_rng(101).normal(size=(8, 8)))[0]
    for moved in (Z + 3.0, Z @ turn, 4.0 * Z, 0.3 * Z @ turn - 1.0):
        assert set(SelectNAdapt(k, random_state=100).fit(moved, proba).support_indices_) == set(chosen)


@pytest.mark.oracle
def test_renaming_the_classes_renames_the_choice():
    Z, proba = pool_of()
    order = [2, 0, 3, 1]
    plain, renamed = (SelectNAdapt(1, random_state=100).fit(Z, p) for p in (proba, proba[:, order]))
    assert renamed.support_indices_.tolist() == plain.support_indices_[order].tolist()


@pytest.mark.oracle
@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 8), min_size=1, max_size=6).filter(any),
    shots=st.integers(1, 6),
    distinct=st.integers(1, 50),
    share_labeled=st.floats(0, 1),
    on_short=st.sampled_from(["top_prob", "kcenter"]),
    seed=st.integers(0, 2**16),
)
def test_the_budget_is_always_spent_on_distinct_items(sizes, shots, distinct, share_labeled, on_short, seed):
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    n, budget = len(classes), shots * len(sizes)
    Z = rng.normal(size=(distinct, 2))[rng.integers(distinct, size=n)]
    proba = np.full((n, len(sizes)), 0.5 / len(sizes))
    proba[np.arange(n), classes] += 0.5
    labeled = rng.permutation(n)[: int(share_labeled * min(budget, n))]
    selector = SelectNAdapt(shots, on_short=on_short, n_init=2, random_state=seed)
    if budget > n:
        with pytest.raises(ValueError, match="n_shots must be at most"):
            selector.fit(Z, proba, labeled)
        return
    chosen = selector.fit(Z, proba, labeled).support_indices_
    assert chosen.dtype == np.int64 and chosen.shape == selector.support_class_.shape == (budget,)
    assert len(set(chosen.tolist())) == budget and 0 <= chosen.min() <= chosen.max() < n
    assert chosen[: len(labeled)].tolist() == labeled.tolist()
    filled = [item for lack in selector.shortfall_.values() for item in lack.filled]
    assert len(filled) == sum(lack.missing for lack in selector.shortfall_.values())
    assert set(filled) <= set(chosen.tolist()) - set(labeled.tolist())
    own = selector.pseudo_labels_[chosen] == selector.support_class_
    assert own[~np.isin(chosen, filled)].all()
    counts = np.bincount(selector.support_class_, minlength=len(sizes))
    held = np.bincount(classes[labeled], minlength=len(sizes))
    if held.max(initial=0) <= shots:
        assert (counts == shots).all()
    for c, size in enumerate(sizes):
        if not len(labeled) and size <= shots:
            assert set(np.flatnonzero(classes == c)) <= set(chosen.tolist())
    skipped = clone(selector).set_params(on_short="skip").fit(Z, proba, labeled)
    assert skipped.support_indices_.tolist() == chosen[: budget - len(filled)].tolist()
    assert {c: lack.missing for c, lack in skipped.shortfall_.items()} == {
        c: lack.missing for c, lack in selector.shortfall_.items()
    }


@settings(max_examples=40, deadline=None)
@given(shots=st.lists(st.integers(1, 7), min_size=1, max_size=4), n=st.integers(28, 60), seed=st.integers(0, 2**16))
def test_nested_supports_lie_inside_each_other(shots, n, seed):
    Z, proba = pool_of(seed, n=n, d=2)
    found = SelectNAdapt(random_state=seed, n_init=2).nested(np.round(Z), proba, shots)
    assert list(found) == sorted(set(shots))
    smaller = []
    for k, chosen in found.items():
        assert len(set(chosen.tolist())) == len(chosen) == 4 * k
        assert chosen[: len(smaller)].tolist() == smaller
        smaller = chosen.tolist()


def test_a_short_class_gets_its_likeliest_items():
    Z = np.arange(12.0).reshape(6, 2)
    proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.7, 0.3], [0.55, 0.45], [0.1, 0.9]])
    selector = SelectNAdapt(2, random_state=100).fit(Z, proba)
    (lack,) = selector.shortfall_.values()
    assert selector.shortfall_ == {1: lack} and lack.missing == 1
    left = [item for item in (4, 2, 3, 1, 0) if item not in selector.support_indices_[:3]]
    assert lack.filled == (left[0],) and selector.support_indices_[3] == left[0]
    assert selector.support_class_.tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="class 1 lacks 1"):
        SelectNAdapt(2, on_short="raise", random_state=100).fit(Z, proba)
    far = SelectNAdapt(2, on_short="kcenter", random_state=100).fit(Z, proba)
    rest = sorted(set(range(6)) - set(far.support_indices_[:3].tolist()))
    distances = [np.linalg.norm(Z[far.support_indices_[:3]] - Z[item], axis=1).min() for item in rest]
    assert far.support_indices_[3] == rest[int(np.argmax(distances))]


@pytest.mark.oracle
def test_labelled_items_count_and_new_ones_keep_away_from_them():
    Z = np.array([[0.0], [0.1], [0.2], [10.0], [10.1], [10.2], [20.0], [20.1], [20.2]])
    proba = np.tile([1.0], (9, 1))
    chosen = SelectNAdapt(2, random_state=100).fit(Z, proba, [4]).support_indices_
    assert chosen[0] == 4 and chosen[1] in (1, 7)
    chosen = SelectNAdapt(3, random_state=100).fit(Z, proba, np.array([4, 0])).support_indices_
    assert chosen.tolist() == [4, 0, 7]
    proba = np.repeat(np.eye(3), 3, axis=0)
    selector = SelectNAdapt(1, random_state=100).fit(Z, proba, [0, 1])
    assert selector.support_indices_.tolist() == [0, 1, 4]  # of the two classes left, the first
    assert selector.support_class_.tolist() == [0, 0, 1]
    selector = SelectNAdapt(1, random_state=100).fit(Z, proba, [0, 1], labeled_classes=[2, 0])
    assert selector.support_indices_.tolist() == [0, 1, 4] and selector.support_class_.tolist() == [2, 0, 1]
    selector = SelectNAdapt(1, random_state=100).fit(Z, proba, [0, 1])
    assert np.isnan(selector.scores_).tolist() == [True] * 3 + [False] * 3 + [True] * 3


@pytest.mark.oracle
def test_no_label_reaches_the_choice():
    Z, proba = pool_of()
    plain = SelectNAdapt(3, random_state=100).query(Z, proba=proba)
    rng = np.random.default_rng(100)
    assert plain.tolist() == SelectNAdapt(3, random_state=100).query(Z, np.full(200, np.nan), proba=proba).tolist()
    answers = []
    for y in (rng.integers(4, size=200), rng.integers(4, size=200)):
        partly = np.where(np.isin(np.arange(200), plain[:4]), y, np.nan)
        answers.append(SelectNAdapt(3, random_state=100).query(Z, partly, 4, proba).tolist())
        as_objects = np.array([None if value != value else str(value) for value in partly], dtype=object)
        answers.append(SelectNAdapt(3, random_state=100).query(Z, as_objects, 4, proba).tolist())
    assert len(set(map(tuple, answers))) == 1
    assert len(set(answers[0])) == 4 and not set(answers[0]) & set(plain[:4].tolist())


def test_classes_of_ones_own_and_refined_ones():
    Z, proba = pool_of()
    classes = np.random.default_rng(100).integers(4, size=200)
    given = SelectNAdapt(2, classes=classes, random_state=100).fit(Z, proba)
    np.testing.assert_array_equal(given.pseudo_labels_, classes)
    assert (classes[given.support_indices_] == given.support_class_).all()
    refined = SelectNAdapt(2, refine="shot", random_state=100).fit(Z, proba)
    labels = refine_pseudo_labels(torch.tensor(Z), torch.tensor(proba))
    np.testing.assert_array_equal(refined.pseudo_labels_, labels)
    assert (labels != torch.tensor(proba).argmax(1)).any()
    by_hand = SelectNAdapt(2, classes=labels, random_state=100).fit(Z, proba)
    assert refined.support_indices_.tolist() == by_hand.support_indices_.tolist()


def test_it_is_an_estimator():
    selector = SelectNAdapt(3, classes=np.zeros(5, dtype=int), on_short="skip", random_state=100)
    copy = clone(selector)
    assert copy is not selector and copy.get_params().keys() == selector.get_params().keys()
    assert copy.set_params(n_shots=4).n_shots == 4 and selector.n_shots == 3
    Z, proba = pool_of()
    runs = [SelectNAdapt(3, random_state=100).fit(*given) for given in ((Z, proba), map(torch.tensor, (Z, proba)))]
    for name in ("support_indices_", "support_class_", "scores_", "pseudo_labels_", "centroids_"):
        first, second = (getattr(run, name) for run in runs)
        assert isinstance(first, np.ndarray)
        np.testing.assert_array_equal(first, second)
    assert runs[0].get_support().tolist() == runs[0].support_indices_.tolist()
    assert np.flatnonzero(runs[0].get_support(indices=False)).tolist() == sorted(runs[0].support_indices_)
    assert runs[0].query(Z, proba=proba).tolist() == runs[0].support_indices_.tolist()


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_as_a_pool_selector(dtype, device):
    Z, proba = (torch.tensor(x, dtype=dtype, device=device) for x in pool_of())
    pool, selector = Pool(Z, logits=proba.log()), SelectNAdapt()
    assert isinstance(selector, PoolSelector)
    chosen = selector.select(pool, 12, generator=generator(100))
    assert chosen.shape == (12,) and chosen.dtype == torch.int64 and chosen.device == pool.device
    assert torch.equal(chosen, selector.select(pool, 12, generator=generator(100)))
    assert not hasattr(selector, "support_indices_")
    if dtype == torch.float64:
        on_cpu = selector.select(Pool(Z.cpu(), logits=proba.log().cpu()), 12, generator=generator(100))
        assert chosen.tolist() == on_cpu.tolist()
    with pytest.raises(ValueError, match="k must be a multiple of the 4 classes"):
        selector.select(pool, 10, generator=generator(100))
    for on_short in ("skip", "raise"):
        with pytest.raises(ValueError, match='on_short must be "top_prob" or "kcenter"'):
            SelectNAdapt(on_short=on_short).select(pool, 12, generator=generator(100))


Z, PROBA = pool_of(n=8, n_classes=2)
BAD = np.where(np.arange(8)[:, None] == 5, np.nan, Z)


@pytest.mark.parametrize(
    ("options", "arguments", "error", "message"),
    [
        ({}, (BAD, PROBA), ValueError, r"Z must be finite, but 1 rows are not: \[5\]"),
        ({}, (Z[:7], PROBA), ValueError, "proba must have a row for each of the 7 rows of Z, got 8"),
        ({}, (Z[0], PROBA), ValueError, r"Z must be 2-D .* got shape \(8,\)"),
        ({}, (Z, PROBA.argmax(1)), ValueError, r"proba must be 2-D .* got shape \(8,\)"),
        ({}, (Z, 9 * PROBA), ValueError, "proba must hold probabilities, from 0 to 1"),
        ({}, (Z, PROBA), ValueError, "n_shots must be at most 4: 8 items, 2 classes; got 5"),
        ({"n_shots": 0}, (Z, PROBA), ValueError, "n_shots must be at least 1, got 0"),
        ({"n_shots": 1.5}, (Z, PROBA), TypeError, "n_shots must be an int, got float"),
        ({"n_shots": 1}, (Z, PROBA, [0], [0, 1]), ValueError, "labeled_classes must have one entry for each"),
        ({"n_shots": 1}, (Z, PROBA, [0], [2]), ValueError, "labeled_classes must be 1-D, of ints from 0 to 1"),
        ({"on_short": "guess"}, (Z, PROBA), ValueError, "on_short must be one of top_prob, kcenter, skip, raise"),
        ({"refine": "hard"}, (Z, PROBA), ValueError, "refine must be None or \"shot\", got 'hard'"),
        ({"refine": "shot", "classes": [0] * 8}, (Z, PROBA), ValueError, "refine must be None where classes are given"),
        (
            {"n_shots": 1, "classes": [0, 1]},
            (Z, PROBA),
            ValueError,
            "classes must have one entry for each of the 8 items, got 2",
        ),
        ({"n_shots": 1, "classes": [0.5] * 8}, (Z, PROBA), TypeError, "classes must hold ints, got torch.float32"),
        ({"n_shots": 1, "classes": [2] * 8}, (Z, PROBA), ValueError, "classes must be 1-D, of ints from 0 to 1"),
        ({"n_shots": 1}, (Z, PROBA, [0, 0]), ValueError, "labeled_indices must be at most 2 distinct items"),
        ({"n_shots": 1}, (Z, PROBA, [0, 1, 2]), ValueError, "labeled_indices must be at most 2 distinct items, got 3"),
        ({"n_shots": 1}, (Z, PROBA, [8]), ValueError, "labeled_indices must be 1-D, of ints from 0 to 7"),
        ({"n_shots": 1, "n_init": 0}, (Z, PROBA), ValueError, "n_init must be at least 1"),
    ],
)
def test_bad_arguments_are_named(options, arguments, error, message):
    with pytest.raises(error, match=message):
        SelectNAdapt(**options).fit(*arguments)


def test_bad_queries_are_named():
    with pytest.raises(ValueError, match="proba must be given"):
        SelectNAdapt().query(Z)
    with pytest.raises(ValueError, match="y must have one entry for each of the 8 items"):
        SelectNAdapt().query(Z, np.zeros(3), proba=PROBA)
    with pytest.raises(ValueError, match="k must be a multiple of the 2 classes"):
        SelectNAdapt().query(Z, batch_size=3, proba=PROBA)
    with pytest.raises(ValueError, match='on_short must be "top_prob" or "kcenter" for nested sets'):
        SelectNAdapt(on_short="skip").nested(Z, PROBA, [1])


def test_the_best_of_each_class_and_what_fills_a_class():
    scores, classes = torch.tensor([1.0, 3.0, 3.0, -torch.inf, 2.0]), torch.tensor([1, 0, 0, 0, 1])
    items, of = top_per_class(scores, classes, torch.tensor([3, 1, 2]))
    assert items.tolist() == [1, 2, 4] and of.tolist() == [0, 0, 1]
    proba = torch.tensor([[0.1, 0.9], [0.5, 0.5], [0.5, 0.5], [0.2, 0.8]])
    items, of = fill_by_probability(torch.tensor([0]), torch.tensor([1, 2]), proba)
    assert items.tolist() == [1, 3, 2] and of.tolist() == [0, 1, 1]
    assert shots_of(6, 3) == 2
