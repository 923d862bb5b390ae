import sklearn.datasets
import torch

from selectlib.data._images import LabeledImages

LICENCE = "CC BY 4.0"
SOURCE = "UCI Optical Recognition of Handwritten Digits (test part), as bundled with scikit-learn"


def load_digits() -> LabeledImages:
    """Load the 1,797 handwritten digits of 8 x 8 pixels that scikit-learn carries.

    Returns
    -------
    LabeledImages
        Images of shape (1797, 8, 8): the sixteenths of the original as floats from 0 to 1; labels from 0 to 9.

    Examples
    --------
    >>> digits = load_digits()
    >>> digits.images.shape, digits.images.max(), digits.labels[:5]
    (torch.Size([1797, 8, 8]), tensor(1.), tensor([0, 1, 2, 3, 4]))
    """
    bunch = sklearn.datasets.load_digits()
    return LabeledImages(
        images=torch.from_numpy(bunch.images / 16).float(),
        labels=torch.from_numpy(bunch.target).long(),
        description="1,797 handwritten digits of 8 x 8 pixels",
        licence=LICENCE,
        source=SOURCE,
    )
