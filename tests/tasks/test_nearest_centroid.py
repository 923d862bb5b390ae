"""The nearest-centroid head against scikit-learn and by hand, its gradient, its invariances, and the estimator."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize
from sklearn.utils.estimator_checks import check_estimator
from torch.nn import functional as F

from selectlib.seeding import generator
from selectlib.tasks import NearestCentroidClassifier, episode_loss, nearest_centroid_logits

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def draws(*shape, seed=100, dtype=torch.float64):
    return torch.randn(shape, generator=generator(seed), dtype=dtype)


@pytest.mark.oracle
def test_predictions_are_those_of_scikit_learn_with_centroids_of_unit_length():
    support, query = draws(20, 4, 5, 6), draws(20, 30, 6, seed=101)
    predicted = nearest_centroid_logits(support, query).argmax(-1)
    for shots, queries, found in zip(support, query, predicted, strict=True):
        model = NearestCentroid().fit(shots.flatten(0, 1), torch.arange(4).repeat_interleave(5))
        model.centroids_ = normalize(model.centroids_)
        assert model.predict(normalize(queries)).tolist() == found.tolist()


@pytest.mark.oracle
def test_logits_are_cosines_to_plain_means_times_the_temperature():
    support, query = draws(3, 4, 2, 5), draws(3, 7, 5, seed=101)
    logits = nearest_centroid_logits(support, query, temperature=3.0)
    for e, n, y in ((0, 0, 0), (2, 6, 3), (1, 4, 2)):
        mean = (support[e, y, 0] + support[e, y, 1]) / 2
        cosine = query[e, n] @ mean / (query[e, n].norm() * mean.norm())
        assert logits[e, n, y] == pytest.approx(3 * float(cosine), abs=1e-12)


@pytest.mark.oracle
def test_gradient_of_the_loss_is_right():
    features = draws(2, 3, 4, 5).requires_grad_()
    temperature = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, t: episode_loss(x, 2, t), (features, temperature))
    episode_loss(features, 2, temperature).backward()
    cosines = nearest_centroid_logits(features[:, :, :2], features[:, :, 2:].flatten(1, 2), 1.0).detach()
    answers = F.one_hot(torch.arange(3).repeat_interleave(2), 3)
    by_hand = (((7 * cosines).softmax(-1) - answers) * cosines).sum(-1).mean()
    assert float(temperature.grad) == pytest.approx(float(by_hand), abs=1e-12)


@pytest.mark.oracle
def test_turning_scaling_and_temperature_move_no_prediction_and_classes_permute():
    support, query = draws(10, 5, 3, 8), draws(10, 20, 8, seed=101)
    logits = nearest_centroid_logits(support, query)
    turn = torch.linalg.qr(draws(8, 8, seed=102)).Q
    torch.testing.assert_close(nearest_centroid_logits(3 * support @ turn, 3 * query @ turn), logits, rtol=0, atol=1e-8)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(nearest_centroid_logits(support[:, order], query), logits[..., order])
    for t in (1e-3, 1.0, 500.0):
        assert torch.equal(nearest_centroid_logits(support, query, t).argmax(-1), logits.argmax(-1))


def test_loss_counts_the_queries_of_each_class_for_that_class():
    features = torch.eye(3)[None, :, None].expand(1, 3, 5, 3)
    sure = float(episode_loss(features, 1, 10.0))
    assert sure == pytest.approx(np.log(1 + 2 * np.exp(-10)), rel=1e-3)
    moved = features.clone()
    moved[0, :, 1:] = features[0, [1, 2, 0], 1:]  # queries of the next class
    assert float(episode_loss(moved, 1, 10.0)) == pytest.approx(10 + sure, rel=1e-3)


def test_features_that_are_zero_score_zero():
    support, query = draws(1, 3, 2, 4, dtype=torch.float32), draws(1, 2, 4, dtype=torch.float32)
    support[0, 1], query[0, 0] = 0, 0
    logits = nearest_centroid_logits(support, query)
    assert logits[0, 0].tolist() == [0, 0, 0]
    assert logits[0, 1, 1] == 0
    assert logits.isfinite().all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_head_is_never_computed_in_half_precision(device, dtype):
    support, query = (draws(*shape).to(device, dtype) for shape in ((2, 4, 3, 16), (2, 9, 16)))
    wide = torch.promote_types(dtype, torch.float32)
    expected = nearest_centroid_logits(support.to(wide), query.to(wide))
    with torch.autocast(device, dtype=torch.bfloat16):
        found = nearest_centroid_logits(support, query)
    assert found.dtype == wide
    assert torch.equal(found, expected)


def test_errors_name_the_argument():
    support, query = torch.ones(2, 3, 1, 4), torch.ones(2, 5, 4)
    for wrong in ((support[0], query), (support, query[0]), (support[:, :, :0], query)):
        with pytest.raises(ValueError, match="support must have shape"):
            nearest_centroid_logits(*wrong)
    for wrong in (query[..., :3], query[:1]):
        with pytest.raises(ValueError, match=r"query must have shape \(2, n, 4\)"):
            nearest_centroid_logits(support, wrong)
    for n_shot in (0, 3):
        with pytest.raises(ValueError, match="n_shot must be from 1 to 2"):
            episode_loss(torch.ones(1, 2, 3, 4), n_shot)
    with pytest.raises(ValueError, match="features must have shape"):
        episode_loss(torch.ones(2, 3, 4), 1)


def test_classifier_keeps_the_contract_of_scikit_learn():
    check_estimator(NearestCentroidClassifier())


@pytest.mark.oracle
@pytest.mark.parametrize("classes", [2, 5])
def test_classifier_is_the_head(classes):
    support, query = draws(1, classes, 3, 6), draws(1, 40, 6, seed=101)
    names = np.array(["e", "d", "c", "b", "a"])[:classes]
    model = NearestCentroidClassifier().fit(support.flatten(0, 2).numpy(), names.repeat(3))
    logits = nearest_centroid_logits(support, query, 1.0)[0]
    assert model.predict(query[0].numpy()).tolist() == names[logits.argmax(-1)].tolist()
    scores, cosines = model.decision_function(query[0].numpy()), logits.flip(1).numpy()  # classes_ are sorted
    np.testing.assert_allclose(scores, cosines[:, 1] - cosines[:, 0] if classes == 2 else cosines, atol=1e-12)
