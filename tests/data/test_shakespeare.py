import pytest

from selectlib.data import load_tinyshakespeare

NAME = "tinyshakespeare.txt"


def test_the_text_is_whole(folder, register):
    content = "First Citizen:\nBefore we proceed – hear me speak.\n\n".encode()
    register(NAME, content)
    (folder / NAME).write_bytes(content)
    plays = load_tinyshakespeare()
    assert plays.texts == (content.decode(),)
    assert plays.domains == plays.names == ("tinyshakespeare",) and plays.absent == () and plays.licence


def test_another_encoding_is_refused_by_name(folder, register):
    content = b"caf\xe9"
    register(NAME, content)
    (folder / NAME).write_bytes(content)
    with pytest.raises(ValueError, match=r"tinyshakespeare\.txt must be UTF-8"):
        load_tinyshakespeare()


def test_a_missing_file_is_an_error(folder, register):
    register(NAME, b"text")
    with pytest.raises(OSError, match=NAME):
        load_tinyshakespeare()


def test_the_published_text(real_data):
    (plays,) = load_tinyshakespeare().texts
    assert len(plays) == 1_115_394 and len(set(plays)) == 65
    assert plays.startswith("First Citizen:\n") and plays.endswith("\n")
