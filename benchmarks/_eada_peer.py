"""scikit-activeml as a contestant. Import this module only where that is installed."""

import numpy as np
from _eada_pools import CLASSES, Items
from skactiveml.base import SkactivemlClassifier
from skactiveml.pool import Badge, CoreSet, UncertaintySampling


class KnownProbabilities(SkactivemlClassifier):
    """A classifier that was asked before: predicting costs nothing."""

    def __init__(self, probabilities, classes=None, missing_label=np.nan, cost_matrix=None, random_state=None):
        super().__init__(classes, missing_label, cost_matrix, random_state)
        self.probabilities = probabilities

    def fit(self, X, y, sample_weight=None):
        self._validate_data(X, y, sample_weight)
        return self

    def predict_proba(self, X):
        return self.probabilities


class Given:
    """What the peer is handed: arrays of the pool, nothing labelled but the items that are."""

    def __init__(self, items: Items) -> None:
        self.X = items.features.cpu().numpy()
        self.labeled = items.labeled.cpu().numpy()
        probabilities = items.logits.softmax(1).cpu().numpy()
        self.classifier = KnownProbabilities(probabilities, classes=np.arange(CLASSES))

    def core_set(self, k: int) -> list[int]:
        """Its indices of the pool; the labelled items come after the pool in what it sees."""
        X = np.concatenate([self.X, self.labeled])
        y = np.full(len(X), np.nan)
        y[len(self.X) :] = 0
        return list(CoreSet(random_state=0).query(X, y, batch_size=k))

    def badge(self, k: int, seed: int) -> list[int]:
        return list(self._ask(Badge(random_state=seed), k))

    def uncertain(self, k: int, method: str) -> list[int]:
        return list(self._ask(UncertaintySampling(method=method, random_state=0), k))

    def badge_law(self) -> np.ndarray:
        """The probabilities that its second pick is drawn with."""
        _, utilities = self._ask(Badge(random_state=0), 2, return_utilities=True)
        return np.nan_to_num(utilities[1])

    def _ask(self, strategy, k: int, **options):
        y = np.full(len(self.X), np.nan)
        return strategy.query(self.X, y, clf=self.classifier, fit_clf=False, batch_size=k, **options)
