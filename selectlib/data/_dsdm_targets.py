import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from selectlib.data._download import local_copy
from selectlib.data._json_lines import read_strings

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class TargetTask:
    """A task to select training data for, in two parts; made by `load_targets`.

    Parameters
    ----------
    target : list of (str, str)
        The part for the datamodel: contexts and their answers. An answer begins with its blank, so that both together
        are the text.
    holdout : list of (str, str)
        The part to evaluate on, of the same form. No context is in both parts or twice in one.
    description, licence, source : str
        What the data is, under which terms, and from where.

    Examples
    --------
    .. code-block:: python

        context, answer = load_targets("lambada").target[0]
    """

    target: Pairs
    holdout: Pairs
    description: str
    licence: str
    source: str


class _About(NamedTuple):
    files: tuple[str, ...]
    before_answer: str  # the line that asks for the answer, put at the end of the context
    description: str
    licence: str
    source: str


_FOUNDRY = "evaluation data of LLM Foundry (mosaicml/llm-foundry at commit 8c8dd48)"
_TASKS = {
    "lambada": _About(
        ("dsdm_targets/lambada_openai.jsonl",),
        "",
        "LAMBADA: passages of novels, of which the last word is asked",
        "repository Apache-2.0; LAMBADA CC BY 4.0, its passages from unpublished novels",
        f"D. Paperno et al.: The LAMBADA dataset, ACL 2016; {_FOUNDRY}",
    ),
    "cs_algorithms": _About(
        ("dsdm_targets/bigbench_cs_algorithms.jsonl",),
        "",
        "CS-Algorithms: lengths of longest common subsequences, and whether brackets match",
        "Apache-2.0",
        f"BIG-bench collaboration: Beyond the imitation game, TMLR 2023; {_FOUNDRY}",
    ),
    "jeopardy": _About(
        ("dsdm_targets/jeopardy_all.jsonl",),
        "\nAnswer:",
        "Jeopardy: clues with their category, and what they mean",
        "repository Apache-2.0; the clues are third parties', no licence stated",
        _FOUNDRY,
    ),
    "squad": _About(
        ("squad/train-v1.1.json", "squad/dev-v1.1.json"),
        "",
        "SQuAD 1.1: paragraphs of Wikipedia, questions on them, and the first of the accepted answers",
        "CC BY-SA 4.0",
        "P. Rajpurkar et al.: SQuAD: 100,000+ questions for machine comprehension of text, EMNLP 2016",
    ),
}


def load_targets(name: Literal["lambada", "cs_algorithms", "jeopardy", "squad"]) -> TargetTask:
    """Load a target task of DsDm, from the data folder or the network.

    The data folder is the environment's ``SELECTLIB_DATA``, else the user's cache folder. A file that is there with
    the right checksum is used without network.

    The two parts have no context in common: a context that comes again is left out. They are the same on every
    machine, in an order drawn by a hash of the context, so that the first pairs of a part are a sample of it.

    Parameters
    ----------
    name : {"lambada", "cs_algorithms", "jeopardy", "squad"}
        Which task. Of ``squad``, a quarter of the training questions is the target part and the development set the
        hold-out part; of the others each part is a half.

    Returns
    -------
    TargetTask
        2,575 + 2,576 pairs for ``lambada``, 660 + 660 for ``cs_algorithms``.

    Raises
    ------
    ImportError
        If pooch, which looks after the files, is not installed: the extra ``book`` brings it.
    OSError
        If a file is not there and cannot be fetched; the message says from where, to where, and what to do.
    ValueError
        If `name` is no task.

    Notes
    -----
    The shares are the paper's (its follow-up, arXiv 2505.16260, prints 2,577 + 2,570 pairs for LAMBADA, 23,107 +
    10,557 for SQuAD); which pairs went where is not known, so that the parts here are not the paper's.

    LAMBADA has several passages of some novels, and a few of the two parts overlap: `selectlib.corpora.ngram_overlap`
    finds them.

    Examples
    --------
    .. code-block:: python

        task = load_targets("cs_algorithms")
        tokens, target_mask = encode_pairs(task.target, tokenizer, 128)
    """
    if name not in _TASKS:
        raise ValueError(f"name must be one of {', '.join(map(repr, _TASKS))}, got {name!r}")
    about = _TASKS[name]
    read = read_squad if name == "squad" else read_pairs
    parts = [
        _draw([(f"{context}{about.before_answer}", f" {answer}") for context, answer in read(local_copy(file))])
        for file in about.files
    ]
    if len(parts) == 1:
        half = len(parts[0]) // 2
        target, holdout = parts[0][:half], parts[0][half:]
    else:
        target = parts[0][: len(parts[0]) // 4]
        seen = dict(target)
        holdout = [pair for pair in parts[1] if pair[0] not in seen]
    return TargetTask(target, holdout, about.description, about.licence, about.source)


def read_pairs(path: Path) -> Pairs:
    """Read a JSON object a line, with the strings ``context`` and ``continuation``.

    Raises
    ------
    ValueError
        If there is no line, or a line is something else.
    """
    lines = path.read_bytes().splitlines()
    if not lines:
        raise ValueError(f"{path} must hold at least one line")
    pairs = []
    for number, line in enumerate(lines, start=1):
        context, answer = read_strings(line, ("context", "continuation"), f"line {number} of {path}")
        pairs.append((context, answer))
    return pairs


def read_squad(path: Path) -> Pairs:
    """Read a part of SQuAD 1.1; a context is a paragraph, its question, and a line that asks for the answer.

    Raises
    ------
    ValueError
        If the file is not JSON, of another version, or not of SQuAD's form.
    """
    try:
        whole = json.loads(path.read_bytes())
        if whole["version"] != "1.1":
            raise ValueError(f"its version is {whole['version']!r}")
        pairs = [
            (f"{paragraph['context']}\nQuestion: {item['question'].strip()}\nAnswer:", item["answers"][0]["text"])
            for article in whole["data"]
            for paragraph in article["paragraphs"]
            for item in paragraph["qas"]
        ]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{path} is not a file of SQuAD 1.1: {type(error).__name__}: {error}") from error
    if not pairs:
        raise ValueError(f"{path} must hold at least one question")
    return pairs


def _draw(pairs: Pairs) -> Pairs:
    """Keep each context's first pair, in the order of a hash of the contexts."""
    answers: dict[str, str] = {}
    for context, answer in pairs:
        answers.setdefault(context, answer)
    return sorted(answers.items(), key=lambda pair: hashlib.sha256(pair[0].encode()).digest())
