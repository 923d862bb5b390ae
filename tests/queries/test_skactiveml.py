"""The adapter to scikit-activeml, against a stand-in for the base class that it inherits."""

import pickle
import sys
import types

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from selectlib.pool import Pool, Random
from selectlib.queries import EADA, CoreSet, Entropy, FreeEnergy, Margin, Then, _skactiveml, as_skactiveml
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
WEIGHTS = np.random.default_rng(100).normal(size=(4, 3))


class StandIn(BaseEstimator):
    """What scikit-activeml's SingleAnnotatorPoolQueryStrategy offers to those who inherit it."""

    def __init__(self, missing_label=np.nan, random_state=None):
        self.missing_label, self.random_state = missing_label, random_state

    def _validate_data(self, X, y, candidates, batch_size, return_utilities, reset=True):
        self.missing_label_, self.random_state_ = self.missing_label, check_random_state(self.random_state)
        candidates = None if candidates is None else np.asarray(candidates)
        return np.asarray(X), np.asarray(y), candidates, batch_size, return_utilities

    def _transform_candidates(self, candidates, X, y):
        if candidates is None:
            candidates = np.flatnonzero(~is_labeled(y, self.missing_label_))
        return (X[candidates], candidates) if candidates.ndim == 1 else (candidates, None)


def is_labeled(y, missing_label):
    return ~np.isnan(y) if np.isnan(missing_label) else y != missing_label


class Classifier(ClassifierMixin, BaseEstimator):
    """A logistic regression that leaves out what has no label, as scikit-activeml's classifiers do."""

    def fit(self, X, y, sample_weight=None):
        known = ~np.isnan(y)
        weights = None if sample_weight is None else sample_weight[known]
        self.model_ = LogisticRegression().fit(X[known], y[known], weights)
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(X)


class Recorder:
    """Takes the first k items, and remembers the pool that it saw."""

    def __init__(self, *needs):
        self.needs, self.pools = frozenset(needs), []

    def __deepcopy__(self, memo):
        return self

    def select(self, pool, k, *, generator):
        self.pools.append(pool)
        return torch.arange(k, device=pool.device)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    for name, content in (
        ("skactiveml", {}),
        ("skactiveml.base", {"SingleAnnotatorPoolQueryStrategy": StandIn}),
        ("skactiveml.utils", {"is_labeled": is_labeled}),
    ):
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    _skactiveml._adapter.cache_clear()
    yield
    _skactiveml._adapter.cache_clear()


def make_data(n=30, labeled=9):
    X = np.random.default_rng(101).normal(size=(n, 4))
    y = np.where(np.arange(n) % 10 < 3, (X @ WEIGHTS).argmax(1), np.nan)
    assert (~np.isnan(y)).sum() == labeled and len(np.unique(y[~np.isnan(y)])) == 3
    return X, y


def logits_of(X):
    return X @ WEIGHTS


X, Y = make_data()
POOL = np.flatnonzero(np.isnan(Y))


@pytest.mark.oracle
@pytest.mark.parametrize("strategy", [Entropy(), Margin(), FreeEnergy()], ids=lambda s: type(s).__name__)
def test_it_chooses_as_the_strategy_does_and_the_scores_are_the_utilities(strategy):
    chosen, utilities = as_skactiveml(strategy).query(X, Y, clf=logits_of, batch_size=4, return_utilities=True)
    pool = Pool(torch.tensor(X[POOL]), logits=torch.tensor(logits_of(X[POOL])))
    expected = strategy.select(pool, 4, generator=generator(100)).numpy()
    assert chosen.tolist() == POOL[expected].tolist()
    assert utilities.shape == (4, 30)
    assert np.isnan(utilities[:, ~np.isnan(Y)]).all()
    for i, row in enumerate(utilities):
        left = np.setdiff1d(POOL, chosen[:i])
        np.testing.assert_array_equal(np.flatnonzero(~np.isnan(row)), left)
        np.testing.assert_array_equal(row[left], strategy.scores(pool).numpy()[np.searchsorted(POOL, left)])
        assert np.nanargmax(row) == chosen[i]


@pytest.mark.oracle
def test_without_scores_the_utility_is_1_for_the_choice():
    chosen, utilities = as_skactiveml(CoreSet()).query(X, Y, batch_size=3, return_utilities=True)
    for i, row in enumerate(utilities):
        assert np.nansum(row) == row[chosen[i]] == 1
        assert np.isnan(row).sum() == 9 + i


@pytest.mark.oracle
def test_the_pool_is_what_has_no_label():
    recorder = Recorder("logits")
    assert as_skactiveml(recorder).query(X, Y, clf=logits_of, batch_size=2).tolist() == POOL[:2].tolist()
    (pool,) = recorder.pools
    torch.testing.assert_close(pool.features, torch.tensor(X[POOL]))
    torch.testing.assert_close(pool.logits, torch.tensor(logits_of(X[POOL])))
    torch.testing.assert_close(pool.labeled_features, torch.tensor(X[~np.isnan(Y)]))
    assert pool.n_total == 30


def test_another_label_may_stand_for_none():
    recorder = Recorder()
    as_skactiveml(recorder, missing_label=-1).query(X, np.where(np.isnan(Y), -1, Y))
    assert len(recorder.pools[0]) == 21


def test_candidates_by_index_and_by_row():
    recorder, rows = Recorder(), X[20:] + 1
    query = as_skactiveml(recorder).query
    chosen, utilities = query(X, Y, candidates=[7, 5, 28], batch_size=2, return_utilities=True)
    assert chosen.tolist() == [7, 5] and utilities.shape == (2, 30)
    np.testing.assert_array_equal(utilities[:, [7, 5, 28]], [[1, 0, 0], [np.nan, 1, 0]])
    assert np.isnan(np.delete(utilities, [7, 5, 28], axis=1)).all()
    chosen, utilities = query(X, Y, candidates=rows, batch_size=2, return_utilities=True)
    assert chosen.tolist() == [0, 1] and utilities.shape == (2, 10)
    by_index, by_row = recorder.pools
    assert torch.equal(by_index.features, torch.tensor(X[[7, 5, 28]])) and by_index.n_total is None
    assert torch.equal(by_row.features, torch.tensor(rows)) and by_row.n_total is None


# What gives the logits.


@pytest.mark.oracle
@pytest.mark.parametrize("weights", [None, np.linspace(0.1, 3, 30)])
def test_a_copy_of_the_classifier_is_fitted_unless_that_is_unwanted(weights):
    recorder, clf = Recorder("logits"), Classifier()
    query = as_skactiveml(recorder).query
    query(X, Y, clf=clf, sample_weight=weights)
    with pytest.raises(NotFittedError):
        check_is_fitted(clf)
    fitted = clone(clf).fit(X, Y, weights)
    query(X, np.roll(Y, 1), clf=fitted, fit_clf=False)
    for pool, rows in zip(recorder.pools, (X[POOL], X[np.isnan(np.roll(Y, 1))]), strict=True):
        torch.testing.assert_close(pool.logits, torch.tensor(np.log(fitted.predict_proba(rows))))


def test_probabilities_of_0_have_finite_logits():
    recorder, certain = Recorder("logits"), Classifier()
    certain.predict_proba = lambda rows: np.eye(3)[np.arange(len(rows)) % 3]
    as_skactiveml(recorder).query(X, Y, clf=certain, fit_clf=False)
    torch.testing.assert_close(
        recorder.pools[0].logits.softmax(1), torch.eye(3, dtype=torch.float64)[torch.arange(21) % 3]
    )


@pytest.mark.parametrize("device", DEVICES)
def test_a_function_may_give_features_too(device):
    def model(rows):
        tensor = torch.tensor(rows, dtype=torch.float32, device=device)
        return tensor @ torch.tensor(WEIGHTS).to(tensor), tensor[:, :2]

    for needs in ((), ("logits",)):
        recorder = Recorder(*needs)
        assert as_skactiveml(recorder).query(X, Y, clf=model).tolist() == POOL[:1].tolist()
        pool = recorder.pools[0]
        assert pool.device.type == pool.logits.device.type == device
        torch.testing.assert_close(pool.features.cpu(), torch.tensor(X[POOL, :2]).float())
        torch.testing.assert_close(pool.labeled_features.cpu(), torch.tensor(X[~np.isnan(Y), :2]).float())


@pytest.mark.parametrize("device", DEVICES)
def test_the_rows_follow_the_logits_to_their_device(device):
    recorder = Recorder("logits")
    as_skactiveml(recorder).query(X, Y, clf=lambda rows: torch.zeros(len(rows), 2, device=device))
    assert recorder.pools[0].device.type == device


def test_images_are_flattened_and_whole_numbers_become_floats():
    recorder = Recorder()
    as_skactiveml(recorder).query(np.arange(120).reshape(30, 2, 2), Y)
    assert recorder.pools[0].features.shape == (21, 4) and recorder.pools[0].features.dtype == torch.float64


def test_nothing_may_be_labelled_yet():
    recorder = Recorder()
    as_skactiveml(recorder).query(X, np.full(30, np.nan))
    assert len(recorder.pools[0].labeled_features) == 0
    as_skactiveml(recorder).query(X, np.full(30, np.nan), clf=lambda rows: (logits_of(rows), rows))
    assert len(recorder.pools[1].labeled_features) == 0


@pytest.mark.parametrize(
    "strategy",
    [FreeEnergy(), EADA(), Then(FreeEnergy(), 0.5, Margin()), Then(Margin(), 0.5, Then(EADA(), 0.5, Random()))],
)
def test_the_free_energy_of_probabilities_is_refused(strategy):
    with pytest.raises(ValueError, match="clf must be a function that gives logits"):
        as_skactiveml(strategy).query(X, Y, clf=Classifier())
    assert as_skactiveml(strategy).query(X, Y, clf=logits_of).shape == (1,)


# The rest of the contract.


def test_the_random_state_alone_decides():
    def choices(seed):
        return as_skactiveml(Random(), random_state=seed).query(X, Y, batch_size=10).tolist()

    assert choices(0) == choices(0) != choices(1)
    assert set(choices(0)) <= set(POOL.tolist())


def test_it_can_be_cloned_and_pickled():
    query_strategy = as_skactiveml(Then(Entropy(), 0.5, Random()), random_state=3)
    assert isinstance(query_strategy, StandIn)
    expected = query_strategy.query(X, Y, clf=logits_of, batch_size=5)
    for copy in (clone(query_strategy), pickle.loads(pickle.dumps(query_strategy))):
        np.testing.assert_array_equal(copy.query(X, Y, clf=logits_of, batch_size=5), expected)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = _skactiveml.Nothing


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: as_skactiveml(Entropy), TypeError, "strategy must be a pool selector"),
        (lambda: as_skactiveml("entropy"), TypeError, "strategy must be a pool selector .* got 'entropy'"),
        (lambda: as_skactiveml(CoreSet("labeled+source")), ValueError, "it needs source_features"),
        (lambda: as_skactiveml(Entropy()).query(X, Y), ValueError, r"Entropy needs logits: give query\(..., clf=...\)"),
        (lambda: as_skactiveml(Entropy()).query(X, Y, clf=3), TypeError, "clf must be a classifier .* got int"),
    ],
)
def test_what_is_wrong_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_without_scikit_activeml_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "skactiveml.base", None)
    with pytest.raises(ImportError, match="pip install scikit-activeml"):
        as_skactiveml(Random())
