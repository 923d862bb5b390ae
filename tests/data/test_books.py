import pytest

from selectlib.data import load_books
from selectlib.data._books import _FILES, inner_text

HEADER = "The Project Gutenberg EBook of A Book\r\n\r\nYou may re-use it under the Project Gutenberg License\r\n\r\n"
LICENCE = "\r\n*** START: FULL LICENSE ***\r\n\r\nTHE FULL PROJECT GUTENBERG LICENSE\r\n"
BODY = "A BOOK\n\nBy somebody\n\n  It was.\n\n*** What *** is a START?\n\nTHE END\n"
STARTS = {
    "usual": "*** START OF THIS PROJECT GUTENBERG EBOOK A BOOK ***",
    "no blanks": "***START OF THE PROJECT GUTENBERG EBOOK A BOOK***",
    "two lines": "*** START OF THIS PROJECT GUTENBERG EBOOK A BOOK,\r\nWITH A LONG TITLE ***",
}
CREDITS = {
    "none": "",
    "produced": "Produced by One and\r\nAnother\r\n\r\n",
    "transcribed": "Transcribed from the edition by One\r\n\r\n",
}
ENDS = {
    "usual": "End of Project Gutenberg's A Book\r\n\r\n*** END OF THIS PROJECT GUTENBERG EBOOK A BOOK ***\r\n",
    "article": "End of the Project Gutenberg EBook of It\r\n\r\n***END OF THE PROJECT GUTENBERG EBOOK A BOOK***\r\n",
    "mark alone": "***END OF THE PROJECT GUTENBERG EBOOK A BOOK***\r\n",
}
TITLES = list(_FILES)


def published(start="usual", credit="produced", end="usual", body=BODY):
    body = body.replace("\n", "\r\n")
    return f"\ufeff{HEADER}{STARTS[start]}\r\n\r\n\r\n{CREDITS[credit]}\r\n{body}\r\n\r\n{ENDS[end]}{LICENCE}".encode()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("credit", CREDITS)
@pytest.mark.parametrize("start", STARTS)
def test_what_the_author_wrote_is_all_that_stays(start, credit, end):
    assert inner_text(published(start, credit, end), "a.txt") == BODY


def test_a_book_that_begins_like_a_credit_further_down_is_whole():
    body = "A BOOK\n\nProduced by the sea, he was.\n"
    assert inner_text(published(body=body), "a.txt") == body


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (published().replace(b"START OF", b"BEGIN OF"), "must have the lines"),
        (published().split(b"End of")[0], "must have the lines"),
        (published(body="\n"), "must have a text"),
        (b"\xff" + published(), "must be UTF-8"),
    ],
)
def test_other_files_are_refused_by_name(content, message):
    with pytest.raises(ValueError, match=rf"a\.txt {message}"):
        inner_text(content, "a.txt")


@pytest.fixture
def shelf(folder, register):
    """Small stand-ins for the first two books."""
    (folder / "books").mkdir()
    for title in TITLES[:2]:
        content = published(body=f"{title}\n")
        register(_FILES[title], content)
        (folder / _FILES[title]).write_bytes(content)


def test_books_come_as_asked_for(shelf):
    books = load_books(TITLES[1::-1])
    assert books.texts == (f"{TITLES[1]}\n", f"{TITLES[0]}\n")
    assert books.domains == (TITLES[1], TITLES[0]) and books.absent == ()
    assert books.description.startswith("2 books") and books.licence


def test_a_book_that_is_not_there_is_an_error(shelf):
    with pytest.raises(OSError, match=_FILES[TITLES[2]]):
        load_books(TITLES[:3])


@pytest.mark.parametrize("names", [["Moby Dick"], [TITLES[0], TITLES[0]], [], TITLES[0]])
def test_wrong_titles_are_refused(names):
    with pytest.raises(ValueError, match="names must be different titles out of Alice"):
        load_books(names)


def test_the_published_books(real_data):
    books = load_books()
    assert len(books.texts) == 8 and books.names == tuple(TITLES)
    for text in books.texts:
        assert 140_000 < len(text) < 1_000_000
        assert "gutenberg" not in text.lower() and "\r" not in text and "Produced by" not in text[:300]
    (alice,) = load_books(["Alice's Adventures in Wonderland"]).texts
    assert alice.startswith("ALICE’S ADVENTURES IN WONDERLAND\n\nLewis Carroll") and alice.endswith("THE END\n")
