"""What the runs on published photographs do, on small stand-ins of their folders: read, adapt, choose, adapt again."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from selectlib.data import DomainShift, image_folder
from selectlib.nets import Bottleneck
from selectlib.pool import Random
from selectlib.seeding import generator
from selectlib.support import BYOL, LCCS, SelectNAdapt, colour_views, compare_support, prepare_tasks

CLASSES = ("dog", "guitar", "house")


@pytest.fixture
def folder(tmp_path):
    """Two domains of three classes in the layout of PACS; in one of them a broken file."""
    draws = np.random.default_rng(100)
    looks = draws.integers(0, 256, (3, 4, 4, 3))
    for shade, domain in enumerate(("photo", "sketch")):
        for look, name in zip(looks, CLASSES, strict=True):
            (tmp_path / domain / name).mkdir(parents=True)
            for i in range(12):
                pixels = (look * (1 - 0.3 * shade) + draws.normal(0, 25, look.shape)).clip(0, 255).astype(np.uint8)
                picture = Image.fromarray(pixels).resize((48, 40), Image.Resampling.BICUBIC)
                picture.save(tmp_path / domain / name / f"{i}.{'png' if i % 2 else 'jpg'}")
    (tmp_path / "sketch/dog/broken.png").write_bytes(b"not an image")
    return tmp_path


def resnet():
    import transformers

    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    return Bottleneck(transformers.ResNetModel(config), 16, classes=3, hidden=None)


def views(images, *, generator):
    """Of images that have a mean taken off and a spread divided out."""
    return 4 * colour_views((images / 4 + 0.5).clamp(0, 1), generator=generator) - 2


def test_from_folders_to_accuracies(folder):
    source, target = (
        image_folder(folder / domain, "test", seed=100, size=28, exclude=exclude)
        for domain, exclude in (("photo", ()), ("sketch", ["dog/broken.png"]))
    )
    images, pool = (data.fetch(torch.arange(len(data))) for data in (source, target))
    shift = DomainShift(
        source=images,
        source_labels=source.labels,
        source_test=images[:0],
        source_test_labels=source.labels[:0],
        pool=pool,
        pool_labels=target.labels,
        pool_shifted=torch.ones(len(pool), dtype=torch.bool),
        test=pool,
        test_labels=target.labels,
        description="",
        licence="",
        provenance="",
    )
    options = {"source_augment": views, "augment": views, "byol": partial(BYOL, hidden=32, projection=8)}
    (task,) = prepare_tasks([shift], resnet, seeds=[100], source_epochs=8, source_lr=0.01, ssl_epochs=2, **options)
    assert task.features["source"].shape == (36, 16) and task.features["projector"].shape == (36, 8)
    study = compare_support(
        {"ours": SelectNAdapt(), "random": Random()}, {"centroid": LCCS("centroid").adapt}, [task], [1, 2], seed=100
    )
    assert len(study.rows) == 4 and study.accuracy("ours", "centroid", 2, where="transductive")[0] > 34
    model = LCCS("centroid", alphas=[0], steps=0).adapt(
        task.models["source"], pool[:3], target.labels[:3], generator=generator(100)
    )
    assert sum(type(module).__name__ == "LCCSBatchNorm" for module in model.modules()) == sum(
        isinstance(module, torch.nn.BatchNorm2d) for module in task.models["source"].modules()
    )
