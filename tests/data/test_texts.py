"""Texts that are on every machine: their domains, their checksum, and that nothing of the target is in the pool."""

import hashlib
import subprocess
import sys

import pytest

from selectlib.corpora import ngram_overlap
from selectlib.data import Texts, package_texts, topic_texts
from selectlib.data import _package_texts as module

CORE = [f"{package} docstrings" for package in ("numpy", "scipy", "sklearn", "stdlib")]


@pytest.fixture(scope="module")
def corpus():
    return package_texts(40_000)


def test_the_domains_are_filled_to_their_limit(corpus):
    assert set(CORE) <= set(corpus.names)
    assert len(corpus.names) + len(corpus.absent) == 15 and not set(corpus.names) & set(corpus.absent)
    assert len(corpus.names) >= 12
    for domain in corpus.names:
        texts = corpus.of(domain)
        assert sum(map(len, texts)) <= 40_000
        assert all(0 < len(text) <= 2_000 for text in texts)
    for domain in CORE:
        assert sum(map(len, corpus.of(domain))) == 40_000 and len(corpus.of(domain)) >= 20


def test_another_process_finds_the_same_texts(corpus):
    code = "from selectlib.data import package_texts; print(package_texts(40_000).sha256)"
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert again.stdout.strip() == corpus.sha256


def test_docstrings_are_prose_and_modules_are_not_run(tmp_path, monkeypatch):
    package = tmp_path / "written"
    (package / "tests").mkdir(parents=True)
    (package / "__init__.py").write_text('# a comment\n\n"""What the package does."""\nraise SystemExit\n' + "x = 1\n")
    (package / "code.py").write_text(
        'def f(a):\n    r"""Say\n\n      more of \\alpha.\n    """\n    y = """no docstring"""\n\n\n'
        "class C:\n    '''A class.'''\n"
    )
    (package / "tests" / "test_code.py").write_text('"""A test."""\n')
    (package / "broken.py").write_text('"""Open')
    (package / "table.csv").write_bytes(b"\xff\xfe\xff")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {text for text in module._docstrings("written") if text}
    assert found == {"What the package does.", "Say\n\nmore of \\alpha.\n\nA class."}
    assert list(module._contents(("written",), (".csv",))) == [""]
    assert list(module._docstrings("no_such_package")) == []


def test_a_domain_without_text_is_named(monkeypatch):
    domains = {"numpy docstrings": module._DOMAINS["numpy docstrings"], "nothing": lambda: iter(["short"])}
    monkeypatch.setattr(module, "_DOMAINS", domains)
    found = package_texts(4_000)
    assert found.names == ("numpy docstrings",) and found.absent == ("nothing",)


def test_too_small_domains_are_refused():
    with pytest.raises(ValueError, match="per_domain must be at least 4,000 characters, got 3,999"):
        package_texts(3_999)


def test_topics_are_python_s_help(corpus):
    topics = topic_texts()
    assert len(topics.texts) > 50 and sum(map(len, topics.texts)) > 200_000
    assert not bool(ngram_overlap(corpus.texts, topics.texts).any())


@pytest.mark.oracle
def test_the_checksum_sees_every_text_and_domain():
    corpus = Texts(("a", "b"), ("x", "y"), (), "", "")
    assert corpus.sha256 == hashlib.sha256(b"x\0a\0y\0b\0").hexdigest()
    others = [(("b", "a"), ("x", "y")), (("a", "b"), ("y", "x")), (("ab",), ("x",)), (("a",), ("x",))]
    assert corpus.sha256 not in {Texts(*pair, (), "", "").sha256 for pair in others}


def test_domains_can_be_taken_out(corpus):
    rest = corpus.without(CORE[3])
    assert CORE[3] not in rest.names and len(rest.texts) == len(corpus.texts) - len(corpus.of(CORE[3]))
    with pytest.raises(ValueError, match="domain must be one of numpy docstrings"):
        rest.of(CORE[3])
