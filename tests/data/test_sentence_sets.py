"""Six sets of classified sentences: their lines, their copies, and what the published files hold."""

import pytest

from selectlib.data import load_sentences
from selectlib.data._labeled_texts import distinct_texts
from selectlib.data._sentences import _SETS, read_lines

COUNTS = {
    "cr": ([1365, 2400], 0),
    "mr": ([5331, 5331], 0),
    "sst5": ([1508, 3136, 2239, 3107, 1851], 2210),
    "mpqa": ([5809, 2333], 0),
    "subj": ([5000, 5000], 0),
    "trec": ([1284, 1339, 93, 1280, 903, 969], 499),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_real_sets(real_data, name):
    made = load_sentences(name)
    counts, of_test = COUNTS[name]
    assert made.labels.bincount(minlength=len(made.classes)).tolist() == counts
    assert int(made.test_rows.sum()) == of_test
    assert len({" ".join(text.lower().split()) for text in made.texts}) == len(made.texts) == sum(counts)
    assert all(text == text.strip() != "" for text in made.texts)
    assert made.description.lower().startswith(name[:3]) and made.licence and made.source
    assert made.domains is None and made.features is None


def test_a_small_set_in_the_same_format(folder, register):
    parts = {
        "TREC.train.all": "4 Where is it ?\n3 Who was it ?\n\n3 who  was it ?\n1 What is a\xe9 ?\n0 What is it ?\n",
        "TREC.test.all": "4 Where is it ?\n5 What is it ?\n2 \n",
    }
    (folder / "sentences").mkdir()
    for name, text in parts.items():
        (folder / "sentences" / name).write_bytes(text.encode("cp1252"))
        register(f"sentences/{name}", text.encode("cp1252"))
    made = load_sentences("trec")
    # "Where" stays in the test part, "What is it" has two classes, and a text is empty.
    assert made.texts == ("Who was it ?", "What is a\xe9 ?", "Where is it ?")
    assert [made.classes[i] for i in made.labels] == ["human", "entity", "location"]
    assert made.test_rows.tolist() == [False, False, True]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_both_encodings_are_read(tmp_path, encoding):
    (tmp_path / "lines").write_bytes("1 caf\xe9 \u2013 good\r\n0 bad".encode(encoding))
    assert read_lines(tmp_path / "lines", ("no", "yes")) == [("caf\xe9 \u2013 good\r", "yes"), ("bad", "no")]


@pytest.mark.parametrize("line", ["2 too large", "-1 no number", "good", "\xb2 a square"])
def test_a_wrong_line_is_named(tmp_path, line):
    (tmp_path / "lines").write_text(f"0 fine\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 2, must begin with a class from 0 to 1, got"):
        read_lines(tmp_path / "lines", ("no", "yes"))


@pytest.mark.parametrize("name", ["CR", "sst2", None])
def test_an_unknown_set_is_refused(name):
    with pytest.raises(ValueError, match="name must be one of 'cr', 'mr', 'sst5', 'mpqa', 'subj', 'trec', got"):
        load_sentences(name)


def test_of_copies_the_first_of_the_test_part_stays():
    rows = [("a", "x", False), ("b", "x", False), ("A ", "x", True), ("a", "x", True), ("b", "x", False)]
    made = distinct_texts(rows, ("x", "y"), description="", licence="", source="")
    assert made.texts == ("b", "A") and made.test_rows.tolist() == [False, True]
    assert made.labels.tolist() == [0, 0] and made.classes == ("x", "y")
    assert set(COUNTS) == set(_SETS)
