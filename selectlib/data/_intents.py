import csv
import json
from pathlib import Path

from selectlib.data._download import local_copy
from selectlib.data._labeled_texts import LabeledTexts, distinct_texts


def load_banking77() -> LabeledTexts:
    """Load BANKING77, questions to a bank of 77 intents, from the data folder or the network.

    The data folder is the environment's ``SELECTLIB_DATA``, else the user's cache folder. Files that are there with
    the right checksum are used without network.

    Returns
    -------
    LabeledTexts
        13,071 texts; classes are in alphabetical order, and `test_rows` marks the set's own test part.

    Raises
    ------
    ImportError
        If pooch, which looks after the files, is not installed: the extra ``book`` brings it.
    OSError
        If a file is not there and cannot be fetched; the message says from where, to where, and what to do.

    Notes
    -----
    Copies are left out: of equal texts one stays, of the test part if there is one; of equal texts with different
    intents none.

    Examples
    --------
    .. code-block:: python

        banking = load_banking77()
        banking.texts[0], banking.classes[banking.labels[0]]
    """
    parts = [(file, file == "test.csv") for file in ("train.csv", "test.csv")]
    rows = [
        (text, intent, of_test)
        for file, of_test in parts
        for text, intent in read_intents(local_copy(f"banking77/{file}"))
    ]
    return distinct_texts(
        rows,
        sorted({intent for _, intent, _ in rows}),
        description="BANKING77: questions to a bank, by intent",
        licence="CC BY 4.0",
        source="I. Casanueva et al.: Efficient intent detection with dual sentence encoders, NLP4ConvAI 2020",
    )


def load_clinc150() -> LabeledTexts:
    """Load CLINC150, requests of 150 intents in 10 domains, from the data folder or the network.

    The data folder is the environment's ``SELECTLIB_DATA``, else the user's cache folder. Files that are there with
    the right checksum are used without network.

    Returns
    -------
    LabeledTexts
        The classes are in the order of the domains, 15 a domain, and `domains` names the domain of each. `test_rows`
        marks the set's own test part; its validation part is among the others. Requests out of scope are left out.

    Raises
    ------
    ImportError
        If pooch, which looks after the files, is not installed: the extra ``book`` brings it.
    OSError
        If a file is not there and cannot be fetched; the message says from where, to where, and what to do.

    Notes
    -----
    Copies are left out: of equal texts one stays, of the test part if there is one; of equal texts with different
    intents none.

    Examples
    --------
    .. code-block:: python

        clinc = load_clinc150()
        travel = [i for i, domain in enumerate(clinc.domains) if domain == "travel"]
    """
    parts, domains = (json.loads(local_copy(f"clinc150/{name}.json").read_text()) for name in ("data_full", "domains"))
    return distinct_texts(
        [(text, intent, part == "test") for part in ("train", "val", "test") for text, intent in parts[part]],
        [intent for intents in domains.values() for intent in intents],
        description="CLINC150: requests to an assistant, by intent",
        licence="CC BY 3.0",
        source="S. Larson et al.: An evaluation dataset for intent classification and out-of-scope prediction, "
        "EMNLP 2019",
        domains=[domain for domain, intents in domains.items() for _ in intents],
    )


def read_intents(path: Path) -> list[tuple[str, str]]:
    """Read (text, intent) from a table with the columns ``text`` and ``category``.

    Raises
    ------
    ValueError
        If the columns are others.
    """
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        if table.fieldnames != ["text", "category"]:
            raise ValueError(f"{path} must have the columns text and category, got {table.fieldnames}")
        return [(row["text"], row["category"]) for row in table]
