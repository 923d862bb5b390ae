import pytest

from selectlib.data import load_wikitext
from selectlib.data._wikitext import read_articles

CONTENT = (
    " \n = A <unk> article = \n \n Its first sentence is short . \n \n = = Part = = \n \n More \n = 1 and C = \n 2 . \n"
    " \n = B = \n \n Another one @-@ with a dash – and more . \n \n"
)


def test_articles_begin_at_their_titles_and_nowhere_else():
    first, second = read_articles(CONTENT.encode(), "valid.txt")
    assert first.startswith("= A <unk> article =") and first.endswith("= 1 and C = \n 2 .")
    assert second.startswith("= B =") and second.endswith("and more .")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"some text\n", "must have titles"), (b"", "must have titles"), (b"\xff", "must be UTF-8")],
)
def test_other_files_are_refused_by_name(content, message):
    with pytest.raises(ValueError, match=rf"valid\.txt {message}"):
        read_articles(content, "valid.txt")


@pytest.mark.parametrize("part", ["valid", "test"])
def test_the_part_that_is_asked_for(folder, register, part):
    (folder / "wikitext-2").mkdir()
    content = CONTENT.replace("B =", f"{part} =").encode()
    register(f"wikitext-2/{part}.txt", content)
    (folder / f"wikitext-2/{part}.txt").write_bytes(content)
    articles = load_wikitext(part)
    assert articles.texts[1].startswith(f"= {part} =") and articles.names == ("wikitext-2",)
    assert articles.description == f"the 2 articles of the {part} part of WikiText-2" and articles.licence


def test_other_parts_are_refused():
    with pytest.raises(ValueError, match="part must be 'valid' or 'test', got 'train'"):
        load_wikitext("train")


def test_the_published_parts(real_data):
    for part, characters in (("valid", 1_119_000), ("test", 1_254_000)):
        texts = load_wikitext(part).texts
        assert len(texts) == 60 and min(map(len, texts)) > 1_000
        assert abs(sum(map(len, texts)) - characters) < 2_000
