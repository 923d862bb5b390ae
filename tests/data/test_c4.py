import gzip
import json
import os
from itertools import islice

import pytest

from selectlib.data import load_c4

TEXTS = [["a0", "a1\nwith a line", "a2 — and\u2028more"], ["b0"], ["c0", "", "c2"]]
NAMES = [f"c4-train.0000{number}-of-01024.json.gz" for number in range(3)]
FLAT = [text for texts in TEXTS for text in texts]


def lines(texts):
    records = ({"text": text, "timestamp": "2019-04-25T12:57:54Z", "url": "https://example.org"} for text in texts)
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


@pytest.fixture
def pool(tmp_path):
    """A folder like the published one, which holds the validation shards beside the training shards."""
    for name, texts in zip(NAMES, TEXTS, strict=True):
        (tmp_path / name).write_bytes(gzip.compress(lines(texts)))
    (tmp_path / "c4-validation.00000-of-00008.json.gz").write_bytes(gzip.compress(lines(["held out"])))
    (tmp_path / "README.md").write_text("C4")
    return tmp_path


def test_a_folder_holds_the_training_shards_in_order(pool):
    for folder in (pool, str(pool)):
        c4 = load_c4(folder)
        assert [path.name for path in c4.shards] == NAMES
        assert [text for text, _ in c4.read()] == FLAT
        assert c4.description == "the texts of 3 shards of C4: web pages in English" and c4.licence and c4.source


def test_files_are_read_as_listed(pool):
    c4 = load_c4([pool / NAMES[2], str(pool / "c4-validation.00000-of-00008.json.gz")])
    assert [text for text, _ in c4.read()] == [*TEXTS[2], "held out"]


def test_reading_goes_on_after_any_text(pool):
    c4 = load_c4(pool)
    whole = list(c4.read())
    assert list(c4.read(None)) == whole
    for done in range(1, len(whole) + 1):
        saved = json.loads(json.dumps(whole[done - 1][1]))
        assert list(load_c4(pool).read(saved)) == whole[done:]


def test_more_shards_do_not_move_a_place(pool):
    place = list(load_c4([pool / NAMES[0], pool / NAMES[2]]).read())[3][1]
    assert [text for text, _ in load_c4(pool).read(place)] == ["", "c2"]


def test_shards_before_the_place_are_not_opened(pool):
    c4 = load_c4(pool)
    (pool / NAMES[0]).write_bytes(b"damaged")
    assert [text for text, _ in c4.read((NAMES[1], 0))] == TEXTS[1] + TEXTS[2]


def test_it_streams(tmp_path):
    """The first texts of a shard come before its end is read: here the end is damaged."""
    content = gzip.compress(lines(os.urandom(500).hex() for _ in range(2000)))
    (tmp_path / NAMES[0]).write_bytes(content[:-100])
    texts = load_c4(tmp_path).read()
    assert len(list(islice(texts, 500))) == 500
    with pytest.raises(ValueError, match=rf"{NAMES[0]} is not a whole gzip file"):
        list(texts)


GOOD = lines(["a0"])
DAMAGES = {
    "not gzip": (b'{"text": "a0"}\n', "is not a whole gzip file"),
    "cut": (gzip.compress(GOOD)[:-1], "is not a whole gzip file"),
    "altered": (gzip.compress(GOOD)[:10] + b"\xff" * 20 + gzip.compress(GOOD)[30:], "is not a whole gzip file"),
    "no bytes": (b"", "must hold at least 1 lines, got 0"),
    "no lines": (gzip.compress(b""), "must hold at least 1 lines, got 0"),
}
BAD_LINES = {
    "empty": (b"\n", "must be a JSON object"),
    "not JSON": (b"{'text': 'a1'}\n", "must be a JSON object"),
    "not an object": (b'["text"]\n', "must be a JSON object"),
    "no text": (b'{"content": "a1"}\n', "must have the string 'text'"),
    "not a string": (b'{"text": null}\n', "must have the string 'text'"),
    "not UTF-8": (b'{"text": "\xff"}\n', "must be a JSON object"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_named(tmp_path, damage):
    content, message = DAMAGES[damage]
    (tmp_path / NAMES[0]).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{NAMES[0]} {message}"):
        list(load_c4(tmp_path).read())


@pytest.mark.parametrize("damage", BAD_LINES)
def test_a_wrong_line_is_named(tmp_path, damage):
    line, message = BAD_LINES[damage]
    (tmp_path / NAMES[0]).write_bytes(gzip.compress(GOOD + line + GOOD))
    texts = load_c4(tmp_path).read()
    assert next(texts)[0] == "a0"
    with pytest.raises(ValueError, match=rf"line 2 of .*{NAMES[0]} {message}"):
        next(texts)


@pytest.mark.parametrize(
    "start", [("c4-train.00009-of-01024.json.gz", 0), (NAMES[0], -1), (NAMES[0], 1.0), (NAMES[0],), NAMES[0]]
)
def test_a_place_elsewhere_is_refused_before_anything_is_read(pool, start):
    with pytest.raises(ValueError, match=r"start must be \(name of a shard, lines >= 0\)"):
        load_c4(pool).read(start)


def test_a_place_beyond_the_end_is_not_taken_for_the_end(pool):
    with pytest.raises(ValueError, match=rf"{NAMES[1]} must hold at least 2 lines, got 1"):
        list(load_c4(pool).read((NAMES[1], 2)))


def test_wrong_arguments_are_named(pool, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    for folder in (empty, empty / "none", pool / NAMES[0]):
        with pytest.raises(ValueError, match="shards must be a folder that holds c4-train"):
            load_c4(folder)
    with pytest.raises(ValueError, match="shards must hold at least one file"):
        load_c4([])
    with pytest.raises(ValueError, match=r"shards must be files that exist, got .*none\.json\.gz"):
        load_c4([pool / NAMES[0], pool / "none.json.gz"])
    with pytest.raises(ValueError, match=rf"shards must have different names, got {NAMES[0]} more than once"):
        load_c4([pool / NAMES[0], pool / NAMES[0]])
