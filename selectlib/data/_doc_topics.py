import hashlib
import io
import json
from pathlib import Path

import numpy as np
import torch

from selectlib.data._labeled_texts import LabeledTexts

_FOLDER = Path(__file__).with_name("doc_topics")
_SHA256 = {
    "texts.json": "7cd376d6bce8ba96088a14c82f9dbf2540d9853e126e30af32aa6f4df8a6d1d1",
    "features.npy": "5b2971c9bc1187dd3d2492dab119750a7d9b6def9223af70bd246703ccfefc34",
}


def load_doc_topics() -> LabeledTexts:
    """Load 4,115 first sentences of docstrings of 142 Python modules, with their embeddings; no network is needed.

    A class is a module, a domain its package: the standard library (``"python"``, 63 classes), numpy (9), scipy (21),
    scikit-learn (18) and torch (31). The list and the embeddings come with the library, so that they are the same
    whatever is installed beside it.

    Returns
    -------
    LabeledTexts
        From 14 to 40 sentences a class. `domains` has the package of each class, `features` the unit vectors of
        all-MiniLM-L6-v2, shape (4115, 384), as `selectlib.tasks.SentenceEncoder` makes them, rounded to half
        precision on their way. There is no test part.

    Raises
    ------
    OSError
        If a file is missing or is not what was shipped.

    Notes
    -----
    ``workflow/make_doc_topics.py`` in the repository made the list: public functions, classes and methods, sentences
    of 25 to 200 characters and at least 5 words, without those that two classes share. The licences are in the folder
    of the files, ``LICENCES.txt``.

    Examples
    --------
    >>> topics = load_doc_topics()
    >>> topics.features.shape, len(topics.classes), topics.domains.count("torch")
    (torch.Size([4115, 384]), 142, 31)
    >>> topics.texts[100], topics.classes[topics.labels[100]]
    ('DType class corresponding to the numpy.complex64 scalar type.', 'numpy.dtypes')
    """
    written = json.loads(_read("texts.json"))
    features = np.load(io.BytesIO(_read("features.npy")), allow_pickle=False)
    classes = [(domain, name, its) for domain, modules in written["sentences"].items() for name, its in modules.items()]
    texts = tuple(text for _, _, its in classes for text in its)
    return LabeledTexts(
        texts=texts,
        labels=torch.arange(len(classes)).repeat_interleave(torch.tensor([len(its) for _, _, its in classes])),
        classes=tuple(name for _, name, _ in classes),
        test_rows=torch.zeros(len(texts), dtype=torch.bool),
        description="first sentences of docstrings; a class is a module, a domain a package",
        licence="PSF-2.0 (python), BSD-3-Clause (numpy, scipy, scikit-learn, torch)",
        source=", ".join(f"{package} {version}" for package, version in written["versions"].items()),
        domains=tuple(domain for domain, _, _ in classes),
        features=torch.from_numpy(features).float(),
    )


def _read(name: str) -> bytes:
    """A file of the set, as it was shipped."""
    content = (_FOLDER / name).read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != _SHA256[name]:
        raise OSError(f"{_FOLDER / name} is not the file that was shipped: it has sha256 {found}")
    return content
