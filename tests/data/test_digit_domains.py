"""Two collections of digits: distinct images in each set, at one size, with their labels."""

import pytest
import torch

from selectlib.data import LabeledImages, digit_domains, load_digits, load_mnist_test, load_usps
from selectlib.data import _digit_domains as module
from selectlib.seeding import generator

FIELDS = ("source", "source_test", "pool", "test")


def stand_in(n, size, seed):
    """Images that are told apart by their brightness, which their labels follow."""
    values = torch.rand(n, generator=generator(seed)) * 0.99
    images = values.view(-1, 1, 1).expand(n, size, size).contiguous()
    return LabeledImages(images, (10 * values).long(), f"{n} images", "a licence", "a source")


@pytest.fixture
def stand_ins(monkeypatch):
    monkeypatch.setattr(module, "load_mnist_test", lambda: stand_in(500, 28, 1))
    monkeypatch.setattr(module, "load_usps", {"train": stand_in(300, 16, 2), "test": stand_in(200, 16, 3)}.get)


@pytest.mark.oracle
@pytest.mark.parametrize("size", [8, 16])
def test_distinct_images_with_their_labels(stand_ins, size):
    made = digit_domains("mnist", size=size, seed=100, n_source=350, n_pool=250, n_test=180)
    for field, n in zip(FIELDS, (350, 150, 250, 180), strict=True):
        images, labels = getattr(made, field), getattr(made, f"{field}_labels")
        values = images.flatten(1).mean(1)
        assert images.shape == (n, 1, size, size) and images.dtype == torch.float32
        assert len(values.unique()) == n
        assert torch.equal(labels, (10 * values).long())
    everything = torch.cat([made.source, made.source_test]).flatten(1).mean(1)
    torch.testing.assert_close(everything.sort().values, stand_in(500, 28, 1).images[:, 0, 0].sort().values)
    assert made.pool_shifted.shape == (250,) and made.pool_shifted.all()
    assert made.description == f"source: 500 images; target: USPS; all at {size} x {size} pixels"
    assert (
        made.licence == "source: a licence; target: a licence"
        and made.provenance == "source: a source; target: a source"
    )


@pytest.mark.oracle
def test_digits_stay_as_they_are(stand_ins):
    made = digit_domains(seed=100, n_source=1500, n_pool=10, n_test=20)
    digits = load_digits()
    label = dict(zip((tuple(row) for row in digits.images.flatten(1).tolist()), digits.labels.tolist(), strict=True))
    assert made.source.shape == (1500, 1, 8, 8) and made.source_test.shape == (20, 1, 8, 8)
    for images, labels in ((made.source, made.source_labels), (made.source_test, made.source_test_labels)):
        assert [label[tuple(row)] for row in images.flatten(1).tolist()] == labels.tolist()
    assert len(torch.cat([made.source, made.source_test]).flatten(1).unique(dim=0)) == 1520


@pytest.mark.oracle
def test_sizes_are_means_over_areas():
    images = torch.rand(3, 28, 28, generator=generator(100))
    small = module._sized(images, 16)[:, 0]
    assert torch.allclose(small[:, 0, 0], images[:, :2, :2].mean((1, 2)))
    assert torch.allclose(small[:, 15, 5], images[:, 26:28, 8:11].mean((1, 2)))
    halves = torch.rand(3, 16, 16, generator=generator(101))
    assert torch.allclose(module._sized(halves, 8)[:, 0], halves.view(3, 8, 2, 8, 2).mean((2, 4)))


def test_the_seed_chooses_the_images(stand_ins):
    sizes = {"n_source": 100, "n_pool": 100, "n_test": 100}
    first, again, other = (digit_domains("mnist", seed=seed, **sizes) for seed in (100, 100, 101))
    for field in FIELDS:
        assert torch.equal(getattr(first, field), getattr(again, field))
        assert not torch.equal(getattr(first, field), getattr(other, field))


@pytest.mark.parametrize(("source", "size", "left"), [("digits", 8, 397), ("mnist", 8, 2000), ("mnist", 16, 2000)])
def test_the_real_sets(real_data, source, size, left):
    made = digit_domains(source, size=size, seed=100)
    assert [len(getattr(made, field)) for field in FIELDS] == [1400, left, 1400, 2000]
    for field in FIELDS:
        assert (
            getattr(made, field).shape[1:] == (1, size, size) and len(getattr(made, f"{field}_labels").unique()) == 10
        )
    if source == "mnist" and size == 16:
        whole = load_usps("train").images.flatten(1)
        assert all((whole == image.flatten()).all(1).any() for image in made.pool[:20])
        assert made.source.mean() == pytest.approx(float(load_mnist_test().images.mean()), abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"source": "svhn"}, ValueError, "source must be 'digits' or 'mnist', got 'svhn'"),
        ({"size": 16}, ValueError, "size must be 8, or with the source 'mnist' 8 or 16, got 16 with 'digits'"),
        ({"size": 28, "source": "mnist"}, ValueError, "size must be 8, .* got 28 with 'mnist'"),
        ({"n_source": 1797}, ValueError, "n_source must be from 1 to 1,796, got 1797"),
        ({"n_source": 1.5}, TypeError, "n_source must be an int, got float"),
        ({"n_pool": 301}, ValueError, "n_pool must be from 1 to 300, got 301"),
        ({"n_test": 0}, ValueError, "n_test must be from 1 to 200, got 0"),
        ({"seed": -1}, ValueError, "seed must be from 0"),
    ],
)
def test_wrong_arguments_are_named(stand_ins, arguments, error, message):
    with pytest.raises(error, match=message):
        digit_domains(**{"seed": 100, "n_source": 10, "n_pool": 10, "n_test": 10, **arguments})
