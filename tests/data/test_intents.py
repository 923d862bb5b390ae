"""Requests by intent: the published files, and small ones of their form."""

import json

import pytest

from selectlib.data import load_banking77, load_clinc150
from selectlib.data._intents import read_intents


def test_the_real_banking77(real_data):
    made = load_banking77()
    counts = made.labels.bincount()
    assert len(made.texts) == 13071 and int(made.test_rows.sum()) == 3079
    assert len(made.classes) == 77 and list(made.classes) == sorted(made.classes)
    assert counts.min() == 75 and counts.max() == 227
    assert made.classes[made.labels[made.texts.index("I am still waiting on my card?")]] == "card_arrival"
    assert made.domains is None and made.licence == "CC BY 4.0"


def test_the_real_clinc150(real_data):
    made = load_clinc150()
    assert len(made.texts) == 22491 and int(made.test_rows.sum()) == 4498
    assert made.labels.bincount().tolist().count(150) >= 140 and made.labels.bincount().min() == 149
    assert len(made.classes) == 150 and all(made.domains.count(domain) == 15 for domain in set(made.domains))
    assert len(set(made.domains)) == 10 and made.domains[made.classes.index("book_flight")] == "travel"
    assert "oos" not in made.classes and made.licence == "CC BY 3.0"


def test_a_small_banking77(folder, register):
    parts = {
        "train": 'text,category\n"Where, please, is it?",where\nHow?\u00a0,how\nWhere?,where\n"two\nlines",how\n',
        "test": "text,category\nwhere?,where\nWhy?,how\n",
    }
    (folder / "banking77").mkdir()
    for name, text in parts.items():
        (folder / f"banking77/{name}.csv").write_bytes(text.encode())
        register(f"banking77/{name}.csv", text.encode())
    made = load_banking77()
    assert made.texts == ("Where, please, is it?", "How?", "two\nlines", "where?", "Why?")
    assert made.classes == ("how", "where") and made.labels.tolist() == [1, 0, 0, 1, 0]
    assert made.test_rows.tolist() == [False, False, False, True, True]


def test_a_small_clinc150(folder, register):
    parts = {
        "data_full": {
            "train": [["pay it", "pay"], ["go", "fly"]],
            "val": [["pay this", "pay"]],
            "test": [["fly", "fly"], ["Go", "fly"]],
            "oos_train": [["what", "oos"]],
        },
        "domains": {"travel": ["fly", "drive"], "banking": ["pay"]},
    }
    (folder / "clinc150").mkdir()
    for name, content in parts.items():
        text = json.dumps(content)
        (folder / f"clinc150/{name}.json").write_text(text)
        register(f"clinc150/{name}.json", text.encode())
    made = load_clinc150()
    assert made.texts == ("pay it", "pay this", "fly", "Go") and made.test_rows.tolist() == [False, False, True, True]
    assert made.classes == ("fly", "drive", "pay") and made.domains == ("travel", "travel", "banking")
    assert made.labels.tolist() == [2, 2, 0, 0]


@pytest.mark.parametrize("header", ["text,label", "category,text", ""])
def test_other_columns_are_refused(tmp_path, header):
    (tmp_path / "table.csv").write_text(f"{header}\na,b\n" if header else "")
    with pytest.raises(ValueError, match=r"table.csv must have the columns text and category, got"):
        read_intents(tmp_path / "table.csv")
