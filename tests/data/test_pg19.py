import pytest

from selectlib.data import load_pg19

BOOKS = {"10146.txt": "The first\nbook — of two.\n", "975.txt": "Another.\n\nIt is longer.\n"}


@pytest.fixture
def part(tmp_path):
    """A folder like a published part."""
    for name, text in BOOKS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "README.md").write_text("not a book")
    return tmp_path


def test_books_come_in_the_order_of_their_numbers(part):
    for folder in (part, str(part)):
        books = load_pg19(folder)
        assert books.domains == ("975", "10146")
        assert books.texts == (BOOKS["975.txt"], BOOKS["10146.txt"])
        assert books.description.startswith("2 books") and books.licence and books.absent == ()


def test_folders_without_books_are_refused(tmp_path):
    (tmp_path / "test").mkdir()  # the root of the data set, which holds its parts
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match=r"folder must hold books, one \.txt each"):
            load_pg19(folder)


@pytest.mark.parametrize("name", ["notes.txt", "-5.txt", "²3.txt", "1_0.txt"])
def test_other_texts_are_not_taken_for_books(part, name):
    (part / name).write_text("something")
    with pytest.raises(ValueError, match=f"named after their numbers, got {name}"):
        load_pg19(part)


@pytest.mark.parametrize(("content", "message"), [(b"\xff", "must be UTF-8"), (b" \n", "must hold a text")])
def test_damaged_books_are_named(part, content, message):
    (part / "5.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"5\.txt {message}"):
        load_pg19(part)
