"""The setting in which estimates are compared: a network, its pool and targets, and retrained networks as the truth."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from selectlib.corpora import CorrectClassMargin, draw_subsets
from selectlib.data import load_mnist_test, load_usps
from selectlib.nets import ConvNet, batch_orders, classification_loss, evaluate, train
from selectlib.seeding import generator, replicate_seeds

SEED = 100
SUBSETS, SEEDS, ALPHA = 50, 2, 0.5
TARGETS, TUNING = 300, 100  # the first 100 targets are for choosing a damping, the others for the comparison
EPOCHS, BATCH, LR, WEIGHT_DECAY = 3, 100, 1e-3, 1e-2
FILE = Path(__file__).parent / "results/dsdm-ground-truth.npz"

Examples = tuple[Tensor, Tensor]


def network() -> ConvNet:
    """A convolutional network of 1,053,826 parameters for images of 16 x 16 pixels."""
    return ConvNet((1, 16, 16), (32, 64), 1000)


def pool() -> Examples:
    """The 10,000 test images of MNIST: their middle 20 x 20 pixels, scaled to the 16 x 16 of USPS."""
    mnist = load_mnist_test()
    middle = mnist.images[:, None, 4:24, 4:24]
    return interpolate(middle, (16, 16), mode="bilinear", antialias=True), mnist.labels


def targets() -> Examples:
    """Test images of USPS, drawn once: other writers and another scanner than the pool's."""
    usps = load_usps("test")
    chosen = torch.randperm(len(usps.labels), generator=generator(SEED))[:TARGETS]
    return usps.images[chosen, None], usps.labels[chosen]


def subsets() -> Tensor:
    """Masks of the subsets on which networks were retrained, shape (50, 10000)."""
    return draw_subsets(10_000, SUBSETS, alpha=ALPHA, generator=generator(SEED))


def trained(examples: Examples, rows: Tensor, *, start: int, order: int) -> dict[str, Tensor]:
    """One network, trained on the rows named; `start` and `order` seed its first parameters and its batches."""
    orders = batch_orders([rows], epochs=EPOCHS, batch=BATCH, seeds=[order])
    settings = {"lr": LR, "weight_decay": WEIGHT_DECAY, "loss": classification_loss}
    return train(network, examples, orders, seeds=[start], **settings)[0]


def checkpoints(examples: Examples, count: int) -> list[dict[str, Tensor]]:
    """Networks trained on the whole pool, for the estimates: none starts where a retrained one did."""
    everything = torch.arange(len(examples[0]))
    return [trained(examples, everything, start=seed, order=seed) for seed in replicate_seeds(SEED + 2, count)]


def retrained(examples: Examples, mask: Tensor, subset: int, seed: int) -> dict[str, Tensor]:
    """The network of one subset and seed. Seed r starts from the same parameters on every subset, for less noise."""
    start = replicate_seeds(SEED, SEEDS)[seed]
    order = replicate_seeds(SEED + 1, SUBSETS * SEEDS)[subset * SEEDS + seed]
    return trained(examples, mask.nonzero().squeeze(1), start=start, order=order)


def margins(states: list[dict[str, Tensor]], examples: Examples) -> Tensor:
    """What is to be predicted, shape (states, examples)."""
    return evaluate(network(), states, examples, CorrectClassMargin())


@dataclass(frozen=True)
class GroundTruth:
    """Margins of the targets after retraining, shape (subsets, seeds, targets), and what they depend on."""

    outputs: Tensor
    provenance: dict


def setting(pool: Examples, targets: Examples) -> dict:
    """What the retrained networks depend on."""
    return {
        "seed": SEED,
        "subsets": SUBSETS,
        "seeds": SEEDS,
        "alpha": ALPHA,
        "epochs": EPOCHS,
        "batch": BATCH,
        "lr": LR,
        "weight_decay": WEIGHT_DECAY,
        "parameters": sum(p.numel() for p in network().parameters()),
        "pool": digest(*pool),
        "targets": digest(*targets),
        "masks": digest(subsets()),
    }


def digest(*tensors: Tensor) -> str:
    """Hash of tensors; of images to 1/255, as the last bits of a resized image differ between machines."""
    found = hashlib.sha256()
    for tensor in tensors:
        whole = (tensor * 255).round().to(torch.uint8) if tensor.is_floating_point() else tensor
        found.update(whole.contiguous().numpy().tobytes())
    return found.hexdigest()


def load_ground_truth(pool: Examples, targets: Examples) -> GroundTruth:
    """Read the recorded ground truth and check that it is that of this setting.

    Raises
    ------
    RuntimeError
        If the file's outputs have another hash than it says, or it was made for another setting.
    """
    with np.load(FILE) as file:
        outputs, provenance = torch.from_numpy(file["outputs"]), json.loads(str(file["provenance"]))
    if hashlib.sha256(outputs.numpy().tobytes()).hexdigest() != provenance["sha256"]:
        raise RuntimeError(f"{FILE} is damaged: its outputs have another hash than it says")
    wanted = setting(pool, targets)
    wrong = {key: (provenance.get(key), value) for key, value in wanted.items() if provenance.get(key) != value}
    if wrong:
        raise RuntimeError(f"{FILE} was made for another setting (recorded, here): {wrong}")
    return GroundTruth(outputs, provenance)
