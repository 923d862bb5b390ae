"""The selector as scikit-learn's, what it finds, and what it refuses."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from selectlib.features import FeatureGradientSelector

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def suppressor(seed=100, n=1000, d=30):
    """Column 1 is uncorrelated with y, and with column 0 explains four fifths of it."""
    rng = np.random.default_rng(seed)
    signal, nuisance = rng.normal(size=(2, n))
    X = rng.normal(size=(n, d))
    X[:, 0], X[:, 1] = signal + nuisance, nuisance
    return X, signal + 0.5 * rng.normal(size=n)


def selector(n_features_to_select=None, **options):
    options = {"penalty": 1.0, "device": "cpu", "dtype": "float64", "random_state": 100, "min_steps": 20} | options
    return FeatureGradientSelector(n_features_to_select, **options)


@pytest.mark.filterwarnings("ignore:No features were selected")
@parametrize_with_checks(
    [
        FeatureGradientSelector(max_epochs=1, min_steps=2),
        FeatureGradientSelector(1, penalty=1.0, max_epochs=1, min_steps=2),
    ]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_a_suppressor_is_found_from_order_4_and_not_by_order_1(device):
    for seed in (100, 101):
        X, y = suppressor(seed, n=2000, d=50)
        found = selector(2, min_steps=50, device=device).fit(X, y)
        assert set(found.get_support(indices=True)) == {0, 1}
        assert (found.scores_[:2] > 0.8).all() and (found.scores_[2:] < 0.1).all()
        alone = selector(order=1, min_steps=50, device=device).fit(X, y)
        assert alone.scores_[0] > 0.8 and alone.scores_[1] < 0.5


@pytest.mark.oracle
def test_order_1_ranks_by_the_unbiased_squared_covariance():
    X, y = suppressor(n=400)
    found = selector(order=1, penalty=0.0, max_epochs=1, min_steps=0).fit(X, y)
    Z, t = (X - X.mean(0)) / X.std(0), (y - y.mean()) / y.std()
    squares = ((Z.T @ t) ** 2 - (Z**2).T @ t**2) / (400 * 399)
    np.testing.assert_array_equal(
        found.ranking_[found.logits_ >= 0].argsort(), squares[found.logits_ >= 0].argsort()[::-1]
    )
    # One step: the gain is the gradient at equal masks, up to the coefficient and the spectral norm.
    np.testing.assert_allclose(found.gains_ / found.gains_[0], squares / squares[0], rtol=1e-9, atol=1e-12)


@pytest.mark.oracle
def test_scores_do_not_depend_on_scales_shifts_signs_and_order_of_columns():
    X, y = suppressor(n=200, d=12)
    base = selector().fit(X, y)
    turn = np.random.default_rng(100).permutation(12)
    scales, shifts = np.geomspace(0.01, 100, 12), np.linspace(-3, 3, 12)
    for same, columns in (
        (X * scales, slice(None)),
        (X + shifts, slice(None)),
        (X * -1, slice(None)),
        (X[:, turn], turn),
    ):
        other = selector().fit(same, y)
        np.testing.assert_allclose(other.scores_, base.scores_[columns], atol=1e-6)
    np.testing.assert_allclose(selector().fit(X, -3 * y + 7).scores_, base.scores_, atol=1e-6)
    labels = y > 0
    np.testing.assert_allclose(selector().fit(X, labels).scores_, selector().fit(X, ~labels).scores_, atol=1e-6)


@pytest.mark.oracle
def test_sparse_rows_and_memory_maps_give_what_dense_rows_give(tmp_path):
    rng = np.random.default_rng(100)
    X = rng.poisson(0.3, size=(230, 15)).astype(float)
    y = X[:, 0] - X[:, 1] + rng.normal(size=230)
    options = {"batch_size": 100, "max_epochs": 3, "min_steps": 0}
    dense = selector(**options).fit(X, y)
    assert dense.n_iter_ == 6  # the 30 rows that are left are fewer than half a batch
    for sparse in (sp.csr_array(X), sp.csr_matrix(X), sp.csc_array(X), sp.coo_array(X)):
        np.testing.assert_allclose(selector(**options).fit(sparse, y).logits_, dense.logits_, atol=1e-8)
    backend = selector(**options, backend="gram").fit(sp.csr_array(X), y)
    np.testing.assert_allclose(backend.logits_, dense.logits_, atol=1e-8)
    for dtype in ("float64", "float32", "uint8"):
        np.save(tmp_path / "x.npy", X.astype(dtype))
        for shuffle in (True, False):
            mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
            there = selector(**options, shuffle=shuffle).fit(mapped, y)
            np.testing.assert_array_equal(there.logits_, selector(**options, shuffle=shuffle).fit(X, y).logits_)


def test_stored_duplicates_of_a_sparse_matrix_count_once():
    X, y = suppressor(n=60, d=4)
    X = X * (X > 0)
    rows, columns = X.nonzero()
    halves = np.tile(X[rows, columns] / 2, 2)
    doubled = sp.csr_matrix((60, 4))
    doubled.data, doubled.indices = halves.reshape(2, -1).T.ravel(), np.repeat(columns, 2).astype(np.int32)
    doubled.indptr = np.append(0, 2 * np.bincount(rows, minlength=60).cumsum()).astype(np.int32)
    np.testing.assert_allclose(selector().fit(doubled, y).logits_, selector().fit(X, y).logits_, atol=1e-8)
    assert doubled.nnz == 2 * len(rows)


def test_the_task_is_read_off_the_targets_unless_named():
    X, y = load_diabetes(return_X_y=True)
    assert len(selector(max_epochs=1, min_steps=1).fit(X[:50], y[:50]).classes_) > 30
    found = selector(2, task="regression").fit(X, y)
    assert not hasattr(found, "classes_") and 2 in found.get_support(indices=True)
    with pytest.raises(ValueError, match="y must hold class labels for a classification, got fractions"):
        selector(task="classification").fit(X, y + 0.5)
    with pytest.raises(ValueError, match="y should be a 1d array"):
        selector().fit(X, np.stack([y, y], axis=1))


def test_labels_may_be_strings_and_classes_many():
    X, y = load_iris(return_X_y=True)
    rng = np.random.default_rng(100)
    X = np.concatenate([X, rng.normal(size=(150, 20))], axis=1)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    found = selector(4).fit(X, names)
    assert set(found.get_support(indices=True)) >= {2, 3}
    assert found.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    np.testing.assert_array_equal(found.scores_, selector(4).fit(X, y).scores_)


@pytest.mark.oracle
def test_class_weights_are_shares_of_the_rows_or_equal():
    X, y = load_iris(return_X_y=True)
    rare = np.concatenate([np.arange(100), np.arange(100, 110)])
    step = {"max_epochs": 1, "min_steps": 0, "shuffle": False, "penalty": 0.0, "clip_gradient": "leaky"}
    one = {c: selector(**step).fit(X[rare], y[rare] == c).gains_ for c in range(3)}
    shares = np.bincount(y[rare]) / len(rare)
    for class_weight, weights in ((None, shares), ("balanced", np.full(3, 1 / 3))):
        found = selector(**step, class_weight=class_weight).fit(X[rare], y[rare]).gains_
        np.testing.assert_allclose(found, sum(w * one[c] for c, w in enumerate(weights)), rtol=1e-6)


def test_members_of_a_group_share_everything_and_count_as_one():
    X, y = suppressor(d=8)
    groups = np.array(["a", "b", "c", "c", "a", "d", "d", "d"])
    found = selector(2, groups=groups).fit(X, y)
    for values in (found.scores_, found.logits_, found.gains_, found.ranking_):
        assert all(len(np.unique(values[groups == name])) == 1 for name in "abcd")
    assert set(groups[found.get_support()]) == {"a", "b"} and found.get_support().sum() == 3
    assert sorted(set(found.ranking_)) == [1, 2, 3, 4]
    single = selector(groups=np.arange(8)).fit(X, y)
    np.testing.assert_array_equal(single.logits_, selector().fit(X, y).logits_)
    with pytest.raises(ValueError, match="n_features_to_select must be from 1 to 4, got 5"):
        selector(5, groups=groups).fit(X, y)
    with pytest.raises(ValueError, match="groups must name a group for each of the 8 columns"):
        selector(groups=[0, 1]).fit(X, y)


def test_the_ranking_puts_survivors_first_and_breaks_their_ties_by_gain():
    X, y = suppressor(n=300, d=40)
    found = selector(min_steps=60, penalty=0.3).fit(X, y)
    order = found.ranking_.argsort()
    assert sorted(found.ranking_) == list(range(1, 41))
    alive = found.logits_[order] >= 0
    assert alive.sum() >= 2 and not (alive[1:] & ~alive[:-1]).any()
    for part in (order[alive], order[~alive]):
        assert (np.diff(found.gains_[part]) <= 0).all()
    for k in (1, 5, 40):
        assert set(selector(k, min_steps=60, penalty=0.3).fit(X, y).get_support(indices=True)) == set(order[:k])


@pytest.mark.parametrize("degree, hidden", [(2, [0, 1]), (3, [0, 1, 2])])
def test_interactions_are_found_with_their_degree(degree, hidden):
    rng = np.random.default_rng(100)
    X = rng.choice([-1.0, 1.0], size=(600, 12))
    y = X[:, hidden].prod(1)
    found = selector(len(hidden), interaction_degree=degree, min_steps=30).fit(X, y > 0)
    assert found.get_support(indices=True).tolist() == hidden


def test_an_automatic_penalty_keeps_what_helps_and_drops_the_rest():
    rng = np.random.default_rng(100)
    X = rng.normal(size=(400, 40))
    y = X[:, :3].sum(1) + rng.normal(size=400)
    found = selector(penalty="auto").fit(X, y)
    support = found.get_support()
    assert support[:3].all() and support.sum() <= 6
    np.testing.assert_array_equal(selector(penalty=found.penalty_).fit(X, y).get_support(), support)
    few = selector(np.int64(3), order=np.int64(4), penalty="auto").fit(X[:79], y[:79])
    assert few.penalty_ == 10.0


def test_an_automatic_penalty_rises_above_1_only_where_the_best_columns_are_found_there():
    rng = np.random.default_rng(100)
    X = rng.normal(size=(120, 300))
    y = X[:, :4].sum(1) + rng.normal(size=120)
    hits = {}
    for penalty in (1.0, "auto"):
        found = selector(4, order=8, penalty=penalty).fit(X, y)
        hits[penalty] = found.get_support()[:4].sum()
    assert found.penalty_ > 1 and hits["auto"] >= hits[1.0]
    X, y = suppressor(n=400)
    assert selector(2, penalty="auto").fit(X, y).penalty_ == pytest.approx(1)


def test_a_pipeline_is_searched_over_the_penalty_without_looking_at_the_test_rows():
    X, y = suppressor(n=200, d=10)
    pipeline = make_pipeline(selector(max_epochs=1), LogisticRegression())
    grid = GridSearchCV(pipeline, {"featuregradientselector__penalty": [0.3, 1.0]}, cv=3).fit(X, y > 0)
    assert grid.best_score_ > 0.8
    names = grid.best_estimator_[0].get_feature_names_out([f"column {i}" for i in range(10)])
    assert set(names) >= {"column 0", "column 1"}


def test_a_warm_start_goes_on_and_a_pickle_keeps_the_search():
    X, y = suppressor(n=200)
    options = {"shuffle": False, "max_epochs": 5, "min_steps": 0}
    once = selector(**options | {"max_epochs": 10}).fit(X, y)
    twice = selector(**options, warm_start=True).fit(X, y)
    twice = pickle.loads(pickle.dumps(twice)).fit(X, y)
    np.testing.assert_array_equal(twice.logits_, once.logits_)
    assert twice.n_iter_ == 10 and len(twice.history_) == 5
    with pytest.raises(ValueError, match="warm_start must be False for 4 masks after 30"):
        twice.fit(X[:, :4], y)


def test_what_varies_not_is_left_to_the_penalty():
    X, y = suppressor(n=200, d=6)
    X[:, 3] = 1e9
    found = selector(min_steps=60).fit(X, y)
    assert np.isfinite(found.scores_).all() and found.gains_[3] == 0 and not found.get_support()[3]
    with pytest.warns(UserWarning, match="y is constant"):
        found = selector().fit(
            X,
            np.ones(200),
        )
    assert not found.get_support().any() and found.learnability_ == 0
    assert np.isfinite(selector().fit(np.zeros((20, 3)), y[:20]).scores_).all()
    assert selector(1).fit(X[:, :1], y).get_support().tolist() == [True]


def test_the_penalty_is_a_threshold_on_the_gain():
    X, y = suppressor()
    counts = [selector(penalty=penalty).fit(X, y).get_support().sum() for penalty in (0.0, 0.1, 1.0, 1000.0)]
    assert counts == sorted(counts, reverse=True) and counts[0] > 10 and counts[-1] == 0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"penalty": -1.0}, "penalty must be a finite number of at least 0"),
        ({"penalty": "best"}, "at least 0 or \"auto\", got 'best'"),
        ({"order": 0}, "order must be at least 1"),
        ({"batch_size": 4}, "batch_size must be at least 5, got 4"),
        ({"interaction_degree": 4}, "interaction_degree must be from 1 to 3"),
        ({"init": float("nan")}, "init must be a finite number"),
        ({"preprocess": "none"}, "preprocess must be one of zscore, center"),
        ({"class_weight": {0: 1}}, "class_weight must be None"),
        ({"dtype": "float16"}, "dtype must be one of"),
        ({"backend": "sparse"}, 'backend must not be "sparse" for dense X'),
        ({"n_features_to_select": 31}, "n_features_to_select must be from 1 to 30, got 31"),
        ({"task": "ranking"}, "task must be one of"),
        ({"order": 1000, "batch_size": 2000}, "X must have at least 1001 rows for order 1000, got 60"),
    ],
)
def test_bad_parameters_are_named(options, message):
    X, y = suppressor(n=60)
    with pytest.raises(ValueError, match=message):
        selector(**options).fit(X, y)


def test_tensors_are_taken_where_arrays_are():
    X, y = suppressor(n=100, d=5)
    there = selector().fit(torch.tensor(X), torch.tensor(y))
    np.testing.assert_array_equal(there.logits_, selector().fit(X, y).logits_)
