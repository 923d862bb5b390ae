"""Data sets: embedded ones, endless ones that are made on access, and downloads that are checked against a checksum."""

from selectlib.data._digits import load_digits
from selectlib.data._images import LabeledImages
from selectlib.data._infinite import InfiniteDigits, infinite_digits
from selectlib.data._mnist import load_mnist_test
from selectlib.data._patches import PhotoPatches, photo_patches
from selectlib.data._usps import load_usps

__all__ = [
    "InfiniteDigits",
    "LabeledImages",
    "PhotoPatches",
    "infinite_digits",
    "load_digits",
    "load_mnist_test",
    "load_usps",
    "photo_patches",
]
