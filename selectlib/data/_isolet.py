import string

from selectlib.data._download import local_copy
from selectlib.data._labeled_features import LabeledFeatures, read_mat


def load_isolet() -> LabeledFeatures:
    """Load Isolet: the spoken names of the letters, as 617 features of the sound.

    The file is looked for in the data folder, which is the environment's ``SELECTLIB_DATA``, else the user's cache
    folder, and downloaded if it is not there; its checksum is verified.

    Returns
    -------
    LabeledFeatures
        1,560 rows of 617 features from -1 to 1: each of the 26 letters 60 times, ``"a"`` to ``"z"``.

    Raises
    ------
    ImportError
        If pooch, which looks after the file, is not installed: the extra ``book`` brings it.
    OSError
        If the file is not there and cannot be fetched; the message says from where, to where, and what to do.
    ValueError
        If the file's content is not what it should be.

    Notes
    -----
    One of the five parts of the UCI data set: two utterances of each letter by each of 30 speakers. Nothing tells the
    speakers apart, so that a random split has the same voices on both sides.

    Examples
    --------
    .. code-block:: python

        isolet = load_isolet()
        isolet.X.shape  # (1560, 617)
    """
    X, y = read_mat(local_copy("feature_selection/Isolet.mat"), "X", "Y", 26)
    return LabeledFeatures(
        X=X,
        y=y,
        classes=tuple(string.ascii_lowercase),
        description=f"{len(y):,} spoken names of letters, {X.shape[1]} features each",
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        source="R. Cole and M. Fanty: ISOLET, UCI Machine Learning Repository, 1991; one of its five parts",
    )
