import json
import random

import pytest

from selectlib.data import load_targets
from selectlib.data._dsdm_targets import read_pairs, read_squad

FILES = {
    "lambada": "dsdm_targets/lambada_openai.jsonl",
    "cs_algorithms": "dsdm_targets/bigbench_cs_algorithms.jsonl",
    "jeopardy": "dsdm_targets/jeopardy_all.jsonl",
}
ASKS = {"lambada": "", "cs_algorithms": "", "jeopardy": "\nAnswer:"}
ROWS = [(f"question {number}", f"answer {number}") for number in range(101)]


def json_lines(rows):
    records = ({"context": context, "continuation": answer, "category": "any"} for context, answer in rows)
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def squad(paragraphs, version="1.1"):
    """Paragraphs and their questions, with the answers, in the form of SQuAD."""
    made = [
        {
            "context": context,
            "qas": [
                {"question": question, "id": question, "answers": [{"text": text, "answer_start": 0} for text in texts]}
                for question, texts in questions
            ],
        }
        for context, questions in paragraphs
    ]
    return json.dumps({"data": [{"title": "any", "paragraphs": made}], "version": version}).encode()


@pytest.fixture
def put(folder, register):
    """Put a file in the data folder, and in the list of downloads with its checksum."""

    def add(name, content):
        register(name, content)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    return add


@pytest.mark.parametrize("name", FILES)
def test_halves_of_a_small_file_in_the_same_format(put, name):
    put(FILES[name], json_lines(ROWS))
    task = load_targets(name)
    assert (len(task.target), len(task.holdout)) == (50, 51)
    assert sorted(task.target + task.holdout) == sorted(
        (context + ASKS[name], f" {answer}") for context, answer in ROWS
    )
    assert task.description and task.licence and task.source


def test_parts_depend_on_the_contexts_alone(put):
    put(FILES["lambada"], json_lines(ROWS))
    first = load_targets("lambada")
    shuffled = random.Random(100).sample(ROWS, len(ROWS))
    put(FILES["lambada"], json_lines([(context, answer.upper()) for context, answer in shuffled]))
    second = load_targets("lambada")
    assert [context for context, _ in first.target] == [context for context, _ in second.target]
    assert [context for context, _ in first.holdout] == [context for context, _ in second.holdout]


def test_a_part_is_not_a_run_of_the_file(put):
    """A file is often sorted by kind; each part must have both kinds, in its beginning too."""
    put(
        FILES["cs_algorithms"],
        json_lines([(f"{number}", "early" if number < 500 else "late") for number in range(1000)]),
    )
    task = load_targets("cs_algorithms")
    for part in (task.target, task.holdout, task.target[:100], task.holdout[:100]):
        early = sum(answer == " early" for _, answer in part)
        assert 0.25 < early / len(part) < 0.75


def test_a_context_that_comes_again_is_left_out(put):
    put(FILES["lambada"], json_lines([*ROWS, *ROWS[:40], (ROWS[50][0], "another answer")]))
    task = load_targets("lambada")
    assert sorted(task.target + task.holdout) == sorted((context, f" {answer}") for context, answer in ROWS)


def test_a_small_squad_in_the_same_format(put):
    train = squad([(f"Paragraph {number}.", [("Who? ", ["he", "she"]), (" What?", ["it"])]) for number in range(20)])
    dev = squad(
        [("Another.", [("Where?", ["here", "there"])]), ("Paragraph 0.", [("Who?", ["he"]), ("What?", ["it"])])]
    )
    put("squad/train-v1.1.json", train)
    put("squad/dev-v1.1.json", dev)
    task = load_targets("squad")
    assert len(task.target) == 10  # a quarter of 40
    possible = {
        (f"Paragraph {number}.\nQuestion: {question}\nAnswer:", answer)
        for number in range(20)
        for question, answer in (("Who?", " he"), ("What?", " it"))
    }
    assert set(task.target) <= possible
    assert ("Another.\nQuestion: Where?\nAnswer:", " here") in task.holdout
    repeated = {pair for pair in possible if pair[0].startswith("Paragraph 0.")}
    assert set(task.holdout) - {("Another.\nQuestion: Where?\nAnswer:", " here")} == repeated - set(task.target)
    assert task.description and task.licence == "CC BY-SA 4.0" and task.source


def test_of_squad_the_target_keeps_what_both_files_have(put):
    same = squad([(f"Paragraph {number}.", [("Who?", ["he"])]) for number in range(20)])
    put("squad/train-v1.1.json", same)
    put("squad/dev-v1.1.json", same)
    task = load_targets("squad")
    assert (len(task.target), len(task.holdout)) == (5, 15)
    assert not {context for context, _ in task.target} & {context for context, _ in task.holdout}


@pytest.mark.parametrize(
    ("name", "sizes", "pair"),
    [
        ("lambada", (2575, 2576), ("in a confident grin, I don't care about", " signs")),
        (
            "cs_algorithms",
            (660, 660),
            ("JQSHJPY OVCOZNKRCXBYSMWOPRWMXIPCMRKX\nLength of longest common subsequence:", " 8"),
        ),
    ],
)
def test_the_real_tasks(real_data, name, sizes, pair):
    task = load_targets(name)
    assert (len(task.target), len(task.holdout)) == sizes
    assert len({context for context, _ in task.target + task.holdout}) == sum(sizes)
    assert any(context.endswith(pair[0]) and answer == pair[1] for context, answer in task.target + task.holdout)
    assert all(
        answer[0] == " " and answer.strip() and context.strip() for context, answer in task.target + task.holdout
    )


@pytest.mark.parametrize("name", ["SQuAD", "", None])
def test_an_unknown_task_is_refused(name):
    with pytest.raises(ValueError, match="name must be one of 'lambada', 'cs_algorithms', 'jeopardy', 'squad'"):
        load_targets(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must hold at least one line"),
        (json_lines(ROWS[:1]) + b"{\n", "must be a JSON object"),
        (json_lines(ROWS[:1]) + b"[]\n", "must be a JSON object"),
        (json_lines(ROWS[:1]) + b'{"context": "a"}\n', "must have the string 'continuation'"),
        (json_lines(ROWS[:1]) + b'{"context": 1, "continuation": "b"}\n', "must have the string 'context'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, content, message):
    (tmp_path / "task.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{'line 2 of ' if content else ''}.*task\.jsonl {message}"):
        read_pairs(tmp_path / "task.jsonl")


QUESTION = [("Paragraph.", [("Who?", ["he"])])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a file of SQuAD 1.1"),
        (squad(QUESTION)[:-5], "is not a file of SQuAD 1.1"),
        (b"[1]", "is not a file of SQuAD 1.1: TypeError"),
        (b'{"data": []}', "is not a file of SQuAD 1.1: KeyError: 'version'"),
        (squad(QUESTION, version="v2.0"), "is not a file of SQuAD 1.1: .*its version is 'v2.0'"),
        (squad([("Paragraph.", [("Who?", [])])]), "is not a file of SQuAD 1.1: IndexError"),
        (squad([("Paragraph.", [(3, ["he"])])]), "is not a file of SQuAD 1.1: AttributeError"),
        (squad([]), "must hold at least one question"),
    ],
)
def test_a_wrong_squad_is_named(tmp_path, content, message):
    (tmp_path / "squad.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"squad\.json {message}"):
        read_squad(tmp_path / "squad.json")
