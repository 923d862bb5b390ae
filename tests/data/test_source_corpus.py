"""The package-of-origin corpus: blocks, labels, banned words and the split by file, on small packages of our own."""

import pytest
import torch

from selectlib.data import source_corpus


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two packages: in `alphapack` a file of 50 lines and five of 20, in `betapack` six files of 20."""
    for package, word in (("alphapack", "a"), ("betapack", "b")):
        folder = tmp_path / package
        (folder / "tests").mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        (folder / "tests" / "left_out.py").write_text("from tests\n" * 40)
        for file in range(6):
            count = 50 if package == "alphapack" and file == 0 else 20
            lines = (f"{word}_{file}_{i} = my_AlphaPack.do(betapack)\n\n" for i in range(count))
            (folder / f"module_{file}.py").write_text("".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    return ("alphapack",), ("betapack",)


@pytest.mark.oracle
def test_blocks_are_lines_of_one_file(packages):
    corpus = source_corpus(*packages, n_documents=24, seed=100)
    assert len(corpus.texts) == len(set(corpus.texts)) == 24 and corpus.sides == ("alphapack", "betapack")
    assert corpus.labels.sum() == 0 and corpus.labels.dtype == torch.int64
    origin: dict[str, set[int]] = {}
    for text, label, file in zip(corpus.texts, corpus.labels.tolist(), corpus.files.tolist(), strict=True):
        lines = [line.split(" = ")[0].split("_") for line in text.splitlines()]
        assert len(lines) == 10
        assert {line[0] for line in lines} == {"a" if label == 1 else "b"}
        numbers = [int(line[2]) for line in lines]
        assert numbers == list(range(numbers[0], numbers[0] + 10)) and numbers[0] % 10 == 0
        assert len({line[1] for line in lines}) == 1
        origin.setdefault(lines[0][0] + lines[0][1], set()).add(file)
    assert len(origin) == 12 and len(set.union(*origin.values())) == 12
    assert all(len(numbers) == 1 for numbers in origin.values())


def test_the_packages_names_are_taken_out(packages):
    corpus = source_corpus(*packages, n_documents=24, seed=100)
    assert all(line.endswith("= .do()") for text in corpus.texts for line in text.splitlines())
    other = source_corpus(*packages, n_documents=24, banned=["do"], seed=100)
    assert "my_AlphaPack.(betapack)" in other.texts[0]
    assert "my_AlphaPack.do(betapack)" in source_corpus(*packages, n_documents=24, banned=[], seed=100).texts[0]


def test_the_seed_decides(packages):
    first, again, other = (source_corpus(*packages, n_documents=8, seed=seed) for seed in (100, 100, 101))
    assert first.texts == again.texts and torch.equal(first.labels, again.labels) and first.sha256 == again.sha256
    assert first.sha256 != other.sha256
    labels = source_corpus(*packages, n_documents=24, seed=100).labels
    assert 0 < (labels[:12] == 1).sum() < 12  # in random order


@pytest.mark.oracle
@pytest.mark.parametrize("share", [0.1, 0.3, 0.9])
def test_the_split_keeps_files_together(packages, share):
    corpus = source_corpus(*packages, n_documents=24, seed=100)
    train, test = corpus.split(share, seed=100)
    assert torch.equal(torch.cat([train, test]).sort().values, torch.arange(24))
    assert not torch.isin(corpus.files[train], corpus.files[test]).any()
    for label in (1, -1):
        count = int((corpus.labels[test] == label).sum())
        files_left = len(corpus.files[train][corpus.labels[train] == label].unique())
        assert 12 * share <= count < 12 * share + 5 or files_left == 1
    assert not torch.equal(test, corpus.split(share, seed=102)[1])


def test_installed_packages_and_the_standard_library():
    corpus = source_corpus(("sympy",), ("standard library",), n_documents=1_000, seed=100)
    assert corpus.sides == ("sympy", "standard library") and not any("sympy" in text.lower() for text in corpus.texts)
    train, test = corpus.split(seed=100)
    assert 240 <= len(test) <= 320 and len(train) + len(test) == 1_000
    assert "1,000 blocks of 10 lines" in corpus.description


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"n_documents": 30}, ValueError, "n_documents must be at most 24: betapack has 12"),
        ({"n_documents": 3}, ValueError, "n_documents must be even, got 3"),
        ({"block": 0}, ValueError, "block must be at least 1, got 0"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"positive": "alphapack"}, TypeError, "positive must be a sequence of strings, got one string"),
        ({"banned": "alphapack"}, TypeError, "banned must be a sequence of strings, got one string"),
        ({"positive": ("betapack",)}, ValueError, "must have no package in common, got betapack"),
        ({"positive": ("no_such_package",)}, ValueError, "must name installed packages, got 'no_such_package'"),
    ],
)
def test_bad_arguments_are_named(packages, changes, error, message):
    arguments = {"positive": packages[0], "negative": packages[1], "n_documents": 4, "seed": 100} | changes
    with pytest.raises(error, match=message):
        source_corpus(**arguments)


def test_bad_splits_are_refused(packages):
    corpus = source_corpus(*packages, n_documents=8, seed=100)
    with pytest.raises(ValueError, match="test must be above 0 and below 1, got 1"):
        corpus.split(1, seed=100)
    with pytest.raises(ValueError, match="at least two files to be split by file, got 1"):
        source_corpus(*packages, n_documents=2, seed=100).split(seed=100)
