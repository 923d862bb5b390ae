from typing import Literal

import torch
from torch import Tensor

from selectlib._checks import check_choice
from selectlib.data._download import local_copy
from selectlib.data._labeled_features import LabeledFeatures, read_mat

_FILES = {
    "amazon": "amazon_SURF_L10.mat",
    "caltech": "Caltech10_SURF_L10.mat",
    "dslr": "dslr_SURF_L10.mat",
    "webcam": "webcam_SURF_L10.mat",
}
_CLASSES = (
    "backpack",
    "bike",
    "calculator",
    "headphones",
    "keyboard",
    "laptop",
    "monitor",
    "mouse",
    "mug",
    "projector",
)


def load_office_caltech(
    domain: Literal["amazon", "caltech", "dslr", "webcam"], *, standardize: bool = True
) -> LabeledFeatures:
    """Load a domain of Office-Caltech: photographs of ten kinds of objects, as counts of 800 visual words.

    The same kinds of objects, photographed by shops, by a webcam, by a good camera, and found on the web: a classic
    of domain adaptation. The words are clusters of SURF descriptors. The file is looked for in the data folder, which
    is the environment's ``SELECTLIB_DATA``, else the user's cache folder, and downloaded if it is not there; its
    checksum is verified.

    Parameters
    ----------
    domain : {"amazon", "caltech", "dslr", "webcam"}
        958, 1,123, 157 or 295 photographs.
    standardize : bool, default True
        Whether the counts become shares of each photograph's words, and each word's shares get mean 0 and standard
        deviation 1 (with n - 1) over the domain, as is usual with this data; no labels are used. A word that does not
        occur in the domain is 0. False leaves the counts.

    Returns
    -------
    LabeledFeatures
        800 features; the labels, 0 to 9, mean the same in all domains. The file holds numbers only: the classes' names
        are those by which the set is commonly described, in alphabetical order.

    Raises
    ------
    ImportError
        If pooch, which looks after the file, is not installed: the extra ``book`` brings it.
    OSError
        If the file is not there and cannot be fetched; the message says from where, to where, and what to do.
    ValueError
        If `domain` is unknown, or the file's content is not what it should be.

    Notes
    -----
    Each domain is standardised by itself, which takes part of the shift away before anything is learnt.

    Examples
    --------
    .. code-block:: python

        webcam = load_office_caltech("webcam")
        webcam.X.shape  # (295, 800)
    """
    check_choice("domain", domain, tuple(_FILES))
    X, y = read_mat(local_copy(f"office_caltech_surf/{_FILES[domain]}"), "fts", "labels", len(_CLASSES))
    return LabeledFeatures(
        X=_standardized(X) if standardize else X,
        y=y,
        classes=_CLASSES,
        description=f"the {len(y):,} photographs of {domain} in Office-Caltech: {X.shape[1]} visual words, 10 classes",
        licence="public research data; no licence stated",
        source="B. Gong, Y. Shi, F. Sha and K. Grauman: Geodesic flow kernel for unsupervised domain adaptation, "
        "CVPR 2012",
    )


def _standardized(counts: Tensor) -> Tensor:
    shares = counts.double() / counts.sum(1, keepdim=True).clamp(min=1)
    centred = shares - shares.mean(0)
    spread = shares.std(0, correction=1)
    return torch.where(spread > 0, centred / spread, 0).float()
