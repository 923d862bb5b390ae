"""Rows are checked, conditions decide, and the two verdicts are reached as the book says."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from conditions import Condition
from hypothesis import given
from hypothesis import strategies as st
from ledger import LedgerError, load_claims
from record import record
from tally import PARTS
from verdicts import build_ledger, figure_verdict, mechanism_verdict

from selectlib.claims import MIME_TYPE, Measurement

ROOT = Path(__file__).resolve().parent.parent
ID = "kdpp/exactness/tv"
OURS = "kdpp/exactness/looks"
ROW = {
    "id": ID,
    "chapter": "kdpp",
    "claim": "C1",
    "source": "paper",
    "statement": "The sampler is exact.",
    "paper": {
        "figure": "0.01",
        "where": "Table 2",
        "setting": "digits",
        "provenance": "[paper text]",
        "matches_if": "equals 0.01 within 0.005",
    },
    "measure": "total variation distance",
    "holds_if": "<= 0.04",
    "scale": "full",
    "note": "Finite draws.",
}
OWN = {key: value for key, value in ROW.items() if key != "paper"} | {"id": OURS, "claim": "O1", "source": "ours"}


def measured(low, high, id=ID, p=None, value=None, level=0.95):
    return Measurement(id, (low + high) / 2 if value is None else value, low, high, 10, p, level)


def _told(parameters):
    """What a run's provenance says of its parameters."""
    return {"parameters": parameters, "seed": parameters.get("seed")}


class Book:
    """A folder of pages with claims.yml, executed notebooks and recorded measurements."""

    def __init__(self, folder):
        self.folder = folder

    def claims(self, *rows):
        (self.folder / "claims.yml").write_text(yaml.safe_dump(list(rows)))
        return self

    def run(self, notebook, *measurements, scale="full", **parameters):
        outputs = [nbformat.v4.new_output("display_data", {MIME_TYPE: vars(m)}) for m in measurements]
        metadata = {"selectlib": {"scale": scale, "git": "abc"} | _told(parameters)} if scale else {}
        path = self.folder / f"{notebook}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(
            nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=outputs)], metadata=metadata), path
        )
        return self

    def recorded(self, name, *measurements, scale="gpu", **parameters):
        path = self.folder / "recorded" / name
        path.parent.mkdir(exist_ok=True)
        rows = [vars(m) for m in measurements]
        provenance = {"device": "GPU"} | _told(parameters)
        path.write_text(json.dumps({"scale": scale, "provenance": provenance, "measurements": rows}))
        return self

    def entry(self, id=ID):
        return build_ledger(self.folder)[id]


@pytest.fixture
def book(tmp_path):
    return Book(tmp_path).claims(ROW, OWN)


# ---- conditions


@pytest.mark.parametrize(
    ("text", "inside", "outside", "astride"),
    [
        ("< 1", [(-5, 0.99)], [(1, 1), (1, 2)], [(0.5, 1), (0.5, 2)]),
        ("<= 1", [(-5, 1), (1, 1)], [(1.01, 2)], [(1, 2), (0.5, 1.01)]),
        ("> 1", [(1.01, 9)], [(1, 1), (0, 1)], [(1, 2), (0, 2)]),
        (">= 1", [(1, 1), (1, 9)], [(0, 0.99)], [(0, 1), (0.5, 2)]),
        ("in [-0.5, 0.5]", [(-0.5, 0.5), (0, 0)], [(-2, -0.51), (0.51, 1)], [(-2, 2), (-0.6, 0), (0.5, 1)]),
        ("equals 0.3 within 0.1", [(0.2, 0.4)], [(0.0, 0.19), (0.41, 1)], [(0.1, 0.3), (0.2, 0.41)]),
        ("equals 2 within 0", [(2, 2)], [(1, 1.9)], [(1, 2)]),
        ("<= 1e-3", [(0, 0.001)], [(0.002, 1)], [(0, 1)]),
        (">  -.5", [(-0.4, 0)], [(-1, -0.5)], [(-1, 0)]),
    ],
)
def test_condition_regions_with_their_ends(text, inside, outside, astride):
    condition = Condition.parse(text)
    assert all(condition.covers(*i) and not condition.misses(*i) for i in inside)
    assert all(condition.misses(*i) and not condition.covers(*i) for i in outside)
    assert not any(condition.covers(*i) or condition.misses(*i) for i in astride)


WORDS = {
    "< 0.5": lambda x: x < 0.5,
    "<= 0.5": lambda x: x <= 0.5,
    "> 0.5": lambda x: x > 0.5,
    ">= 0.5": lambda x: x >= 0.5,
    "in [-0.5, 0.5]": lambda x: abs(x) <= 0.5,
    "equals 0 within 0.25": lambda x: abs(x) <= 0.25,
}


@pytest.mark.oracle
@given(st.sampled_from(sorted(WORDS)), st.integers(-8, 8), st.integers(0, 8))
def test_condition_agrees_with_the_points_of_the_interval(text, start, steps):
    """On a grid that hits every end: inside when all points satisfy the words, outside when none does."""
    holds = [WORDS[text]((start + i) / 8) for i in range(steps + 1)]
    condition = Condition.parse(text)
    low, high = start / 8, (start + steps) / 8
    assert condition.covers(low, high) == all(holds)
    assert condition.misses(low, high) == (not any(holds))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a condition is '< x'"),
        ("0.04", "a condition is '< x'"),
        ("<= 0.04 m", "a condition is '< x'"),
        ("<= nan", "a condition is '< x'"),
        ("<= inf", "a condition is '< x'"),
        ("== 1", "a condition is '< x'"),
        ("in (0, 1)", "a condition is '< x'"),
        ("equals 1", "a condition is '< x'"),
        ("> 0 and < 1", "one condition, and a compound claim is several rows"),
        ("> 0; < 1", "one condition, and a compound claim is several rows"),
        ("in [1, 0]", "must not be empty"),
        ("equals 1 within -1", "must not be empty"),
        (0.04, "a condition is a text"),
        (["> 0", "< 1"], "a condition is a text"),
    ],
)
def test_condition_that_cannot_be_read(text, message):
    with pytest.raises(ValueError, match=message):
        Condition.parse(text)


# ---- rows


def test_rows_are_read(book):
    claims = load_claims(book.folder / "claims.yml")
    assert list(claims) == [ID, OURS]
    assert claims[ID].paper.figure == "0.01" and claims[ID].paper.matches_if.high == 0.015
    assert claims[ID].holds_if.text == "<= 0.04"
    assert claims[OURS].paper is None


def _changed(path, value):
    row = copy.deepcopy(ROW)
    *parents, last = path.split(".")
    inner = row
    for key in parents:
        inner = inner[key]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return row


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("chapter", "kdp", "unknown chapter 'kdp'; one of feature_gradients, kdpp"),
        ("chapter", "lion", "the id begins with 'kdpp' and chapter is 'lion'"),
        ("id", "kdpp/tv", "id must be <chapter>/<notebook>/<measure>"),
        ("id", "kdpp/Exactness/tv", "id must be <chapter>/<notebook>/<measure>"),
        ("id", None, "row 1: id must be a text"),
        ("source", "theirs", "source must be 'paper' or 'ours'"),
        ("source", "ours", "the row has unknown paper"),
        ("paper", KeyError, "the row lacks paper"),
        ("paper", "Table 2", "paper must be a mapping"),
        ("note", KeyError, "the row lacks note"),
        ("notes", "x", "the row has unknown notes"),
        ("paper.where", KeyError, "paper lacks where"),
        ("paper.page", 3, "paper has unknown page"),
        ("statement", "  ", "statement must be a text"),
        ("paper.figure", 3, "paper.figure must be a text"),
        ("holds_if", "at most 1", "holds_if: a condition is '< x'"),
        ("holds_if", "> 0 and < 1", "holds_if: a row has one condition"),
        ("paper.matches_if", "about 3", "paper.matches_if: a condition is '< x'"),
        ("scale", "huge", "scale must be one of quick, full, long, gpu, paper"),
        ("paper.provenance", "[memory]", r"paper.provenance rests on \[memory\]"),
        ("paper.provenance", "[abstract] [mem]", r"rests on \[mem\]"),
        ("paper.provenance", "[inferred]", r"rests on \[inferred\]"),
        ("paper.provenance", "[sec-N; rest memory]", "rests on"),
        ("statement", "It is 3x faster [memory].", r"statement rests on \[memory\]"),
        ("paper.provenance", "no source read", "printed only with a source that was read"),
        ("paper.provenance", "[derived]", "printed only with a source that was read"),
        ("paper.provenance", "[rumour]", r"unknown tag \[rumour\]"),
        ("paper.figure", None, "paper.matches_if needs a paper.figure"),
    ],
)
def test_row_that_is_wrong(book, path, value, message):
    book.claims(_changed(path, value))
    with pytest.raises(LedgerError, match=message):
        load_claims(book.folder / "claims.yml")


def test_every_problem_is_reported_at_once(book):
    book.claims(ROW, ROW, OWN | {"scale": "huge"})
    with pytest.raises(LedgerError, match=rf"(?s)2 row.*{ID}: the id is there twice.*{OURS}: scale must be"):
        load_claims(book.folder / "claims.yml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("a: 1", "a list of rows is needed"),
        ("- just words", "row 1: source|a row is a mapping"),
    ],
)
def test_file_that_is_no_list_of_rows(book, text, message):
    (book.folder / "claims.yml").write_text(text)
    with pytest.raises(LedgerError, match=message):
        load_claims(book.folder / "claims.yml")


def test_missing_file(tmp_path):
    with pytest.raises(LedgerError, match=r"no claims\.yml"):
        build_ledger(tmp_path)


@pytest.mark.parametrize("tag", ["abs", "official repo", "DFS repo", "dev", "NNI thread", "secondary A", "sec-T", "F"])
def test_sources_that_may_be_printed(book, tag):
    book.claims(_changed("paper.provenance", f"[{tag}] and words, with [derived] beside it"))
    assert load_claims(book.folder / "claims.yml")[ID].paper.figure == "0.01"


def test_figure_may_be_left_out_without_a_source(book):
    row = _changed("paper.provenance", "no source read")
    row["paper"] |= {"figure": None, "matches_if": None}
    assert book.claims(row).entry().figure == "no figure known"


# ---- verdicts


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (0.0, 0.04, None, "supported"),
        (0.0, 0.0400001, None, "inconclusive"),
        (0.04, 0.04, None, "supported"),
        (0.0400001, 0.1, None, "contradicted"),
        (0.0, 0.03, 0.05, "supported"),
        (0.0, 0.03, 0.0500001, "inconclusive"),
        (0.0, 0.05, 0.0001, "inconclusive"),
        (0.05, 0.1, 0.9, "contradicted"),
    ],
)
def test_mechanism(low, high, p, verdict):
    assert mechanism_verdict(Condition.parse("<= 0.04"), measured(low, high), p) == verdict


def test_mechanism_at_other_levels_is_not_moved_by_rounding():
    condition = Condition.parse("<= 0.04")
    assert mechanism_verdict(condition, measured(0, 0.03, level=0.9), 0.1) == "supported"
    assert mechanism_verdict(condition, measured(0, 0.03, level=0.9), 0.11) == "inconclusive"
    assert mechanism_verdict(condition, measured(0, 0.03, level=0.99), 0.02) == "inconclusive"


def test_figure():
    condition = Condition.parse("equals 0.01 within 0.005")
    assert figure_verdict(None, None, measured(0, 1)) == "no figure known"
    assert figure_verdict("0.01", condition, None) == "untested"
    assert figure_verdict("orders of magnitude", None, measured(0, 1)) == "untested"
    assert figure_verdict("0.01", condition, measured(0, 1, value=0.015)) == "matched"
    assert figure_verdict("0.01", condition, measured(0, 1, value=0.0151)) == "not matched"


# ---- claims, runs and records together


def test_nothing_measured(book):
    entry = book.entry()
    assert (entry.mechanism, entry.figure, entry.headline) == ("not yet measured", "untested", None)
    assert book.entry(OURS).figure is None


def test_measured_at_the_needed_scale(book):
    entry = book.run("kdpp/exactness", measured(0, 0.03)).entry()
    assert entry.mechanism == "supported"
    assert entry.headline.provenance["git"] == "abc"


def test_smaller_scale_decides_nothing_but_is_shown(book):
    entry = book.run("kdpp/exactness", measured(0.5, 0.6), scale="quick").entry()
    assert entry.mechanism == "not yet measured"
    assert entry.headline.measurement.low == 0.5
    assert entry.as_json()["measured"]["quick"]["mechanism"] == "not yet measured"


def test_largest_scale_is_the_headline_and_each_keeps_its_verdict(book):
    book.run("kdpp/exactness", measured(0, 0.03), scale="quick")
    book.recorded("b.json", measured(0.5, 0.6), scale="gpu").recorded("a.json", measured(0, 0.03), scale="full")
    entry = book.entry()
    assert list(entry.evidence) == ["quick", "full", "gpu"]
    assert [e.mechanism for e in entry.evidence.values()] == ["not yet measured", "supported", "contradicted"]
    assert entry.mechanism == "contradicted" and entry.headline.recorded
    assert entry.figure == "untested"


def test_figure_is_decided_at_scale_paper(book):
    entry = book.recorded("p.json", measured(0.0, 0.2, value=0.012), scale="paper").entry()
    assert (entry.figure, entry.mechanism) == ("matched", "inconclusive")


def test_a_recorded_run_decides_before_one_of_this_build_and_the_other_is_shown(book):
    book.recorded("a.json", measured(0.5, 0.6), scale="full", seed=200)
    book.run("kdpp/exactness", measured(0, 0.03), measured(0, 0.03, id=OURS), seed=100)
    entry = book.entry()
    assert (entry.mechanism, entry.headline.recorded, entry.headline.seed) == ("contradicted", True, 200)
    assert [(e.mechanism, e.seed, e.recorded) for e in entry.further["full"]] == [("supported", 100, False)]
    assert book.entry(OURS).mechanism == "supported" and not book.entry(OURS).headline.recorded  # nothing is recorded


# ---- several seeds


def _seeds(book, *verdicts, scale="full", **further):
    """Record runs that reach these verdicts at seeds 200, 300, ...; the first of them decides."""
    ends = {"supported": (0, 0.03), "inconclusive": (0, 0.05), "contradicted": (0.5, 0.6)}
    for number, verdict in enumerate(verdicts):
        seed = 200 + 100 * number
        name = f"a.{scale}.seed{seed}.json" if number else f"a.{scale}.json"
        book.recorded(name, measured(*ends[verdict]), scale=scale, seed=seed, **(further if number else {}))
    return book.entry()


YES, OPEN, NO = "supported", "inconclusive", "contradicted"


@pytest.mark.parametrize(
    ("verdicts", "agreement", "words"),
    [
        ([YES], None, "supported at seed 200"),
        ([YES, YES], "same at every seed", "supported at seeds 200 and 300"),
        ([OPEN, OPEN, OPEN], "same at every seed", "inconclusive at seeds 200, 300 and 400"),
        ([YES, OPEN], "depends on the seed", "supported at seed 200, inconclusive at seed 300"),
        ([OPEN, YES], "depends on the seed", "inconclusive at seed 200, supported at seed 300"),
        ([NO, OPEN, NO], "depends on the seed", "contradicted at seeds 200 and 400, inconclusive at seed 300"),
        ([YES, NO], "contradictory between seeds", "supported at seed 200, contradicted at seed 300"),
        ([NO, YES], "contradictory between seeds", "contradicted at seed 200, supported at seed 300"),
        ([OPEN, YES, NO], "contradictory between seeds", f"{OPEN} at seed 200, {YES} at seed 300, {NO} at seed 400"),
    ],
)
def test_the_first_seed_decides_and_others_only_show_what_depends(book, verdicts, agreement, words):
    entry = _seeds(book, *verdicts)
    assert (entry.mechanism, entry.seeds, entry.seeds_in_words("full")) == (verdicts[0], agreement, words)
    assert entry.headline.seed == 200
    data = entry.as_json()
    assert (data["mechanism"], data["seeds"], data["measured"]["full"]["seed"]) == (verdicts[0], agreement, 200)
    assert [e["mechanism"] for e in data["measured"]["full"]["further"]] == verdicts[1:]
    assert all(e["replication"] for e in data["measured"]["full"]["further"])
    assert json.loads(json.dumps(data)) == data


def test_seeds_are_compared_at_the_scale_that_decides_and_each_scale_has_its_own(book):
    entry = _seeds(book, YES, NO)
    assert entry.seeds == "contradictory between seeds"
    entry = _seeds(book, YES, YES, scale="long")
    assert (entry.seeds, entry.headline.scale) == ("same at every seed", "long")
    assert entry.agreement("full") == "contradictory between seeds" and entry.agreement("quick") is None


def test_a_scale_too_small_to_decide_has_no_seeds_to_compare(book):
    entry = _seeds(book, YES, NO, scale="quick")
    assert (entry.mechanism, entry.seeds) == ("not yet measured", None)


def test_a_quick_run_of_this_build_is_no_replication_of_a_full_one(book):
    book.run("kdpp/exactness", measured(0.5, 0.6), scale="quick", seed=100)
    entry = _seeds(book, YES)
    assert (entry.mechanism, entry.seeds, entry.further) == (YES, None, {})


def test_a_full_run_of_this_build_is_one_more_seed(book):
    book.run("kdpp/exactness", measured(0, 0.05), seed=100)
    entry = _seeds(book, YES, YES)
    assert (entry.mechanism, entry.seeds) == (YES, "depends on the seed")
    assert entry.seeds_in_words("full") == "supported at seeds 200 and 300, inconclusive at seed 100 (this build)"


def test_the_same_seed_again_is_no_further_seed(book):
    book.run("kdpp/exactness", measured(0.5, 0.6), seed=200)
    entry = _seeds(book, YES)
    assert (entry.mechanism, entry.seeds) == (YES, None)
    assert entry.as_json()["measured"]["full"]["further"][0]["replication"] is False


@pytest.mark.parametrize(
    ("parameters", "agreement"),
    [
        ({"draws": 7, "seed": 300, "device": "cuda"}, "contradictory between seeds"),
        ({"draws": 7, "new": 1}, "contradictory between seeds"),  # came to the notebook after the first run
        ({"draws": 8, "seed": 300}, None),
    ],
)
def test_other_parameters_make_no_replication(book, parameters, agreement):
    book.recorded("a.full.json", measured(0, 0.03), scale="full", seed=200, draws=7, device="cpu")
    book.recorded("a.full.seed300.json", measured(0.5, 0.6), scale="full", **({"seed": 300} | parameters))
    assert book.entry().seeds == agreement and len(book.entry().further["full"]) == 1


def test_each_further_seed_is_corrected_by_itself(book):
    """p = 0.03 beside 0.04 does not pass; alone it does, and so the family of a seed is what that seed measured."""
    book.recorded("a.json", measured(0, 0.03, p=0.03), measured(0, 0.03, id=OURS, p=0.04), scale="full", seed=200)
    before = [book.entry(id).headline for id in (ID, OURS)]
    book.recorded("a.seed300.json", measured(0, 0.03, p=0.03), scale="full", seed=300)
    book.recorded(
        "a.seed400.json", measured(0, 0.03, p=0.01), measured(0, 0.03, id=OURS, p=0.02), scale="full", seed=400
    )
    assert [book.entry(id).headline for id in (ID, OURS)] == before
    assert [e.adjusted_p for e in before] == pytest.approx([0.06, 0.06])
    assert [e.adjusted_p for e in book.entry().further["full"]] == pytest.approx([0.03, 0.02])
    assert [e.adjusted_p for e in book.entry(OURS).further["full"]] == pytest.approx([0.02])
    assert book.entry().seeds_in_words("full") == "inconclusive at seed 200, supported at seeds 300 and 400"


def test_runs_that_decide_are_corrected_together_whatever_their_seeds(book):
    book.recorded("a.json", measured(0, 0.03, p=0.03), scale="full", seed=200)
    book.recorded("b.json", measured(0, 0.03, id=OURS, p=0.04), scale="full", seed=300)
    assert [book.entry(id).headline.adjusted_p for id in (ID, OURS)] == pytest.approx([0.06, 0.06])


def test_further_seeds_that_cannot_be_placed(book):
    book.recorded("a.json", measured(0, 0.03), scale="full", seed=200)
    book.recorded("a.seed300.json", measured(0, 0.03), scale="full", seed=400)
    with pytest.raises(LedgerError, match=r"recorded/a.seed300.json: its provenance names seed 400"):
        book.entry()
    book.recorded("a.seed300.json", measured(0, 0.03), scale="full", seed=300)
    book.recorded("b.json", measured(0, 0.03, id=OURS), scale="full", seed=200)
    book.recorded("b.seed300.json", measured(0, 0.03), scale="full", seed=300)
    with pytest.raises(LedgerError, match=rf"b.seed300.json: {ID} is recorded twice at scale full"):
        book.entry()
    (book.folder / "recorded" / "b.seed300.json").unlink()
    (book.folder / "recorded" / "a.json").unlink()
    with pytest.raises(LedgerError, match=r"a.seed300.json repeats a run that is not there: recorded/a.json"):
        book.entry()


def test_counts_for_prose(book):
    entry = _seeds(book, YES, NO)
    entries = [entry, book.entry(OURS)]
    counts = {name: count(entries) for name, count in PARTS.items()}
    assert {name: n for name, n in counts.items() if n} == {
        "claims": 2,
        "measured": 1,
        "supported": 1,
        "unmeasured": 1,
        "replicated": 1,
        "depends": 1,
        "contradictory": 1,
        "untested": 1,
    }


# ---- families and what cannot be read


def test_holm_over_a_chapter_and_scale_only(book):
    """p = 0.03 passes alone; beside another test of its chapter and scale it does not."""
    other = OWN | {"id": "lion/update/sign", "chapter": "lion"}
    book.claims(ROW, OWN, other)
    book.run("kdpp/exactness", measured(0, 0.03, p=0.03)).run(
        "lion/update", measured(0, 0.03, "lion/update/sign", 0.04)
    )
    book.recorded("g.json", measured(0, 0.03, id=OURS, p=0.04), scale="gpu")
    assert [book.entry(id).mechanism for id in (ID, "lion/update/sign", OURS)] == ["supported"] * 3
    book.run("kdpp/exactness", measured(0, 0.03, p=0.03), measured(0, 0.03, id=OURS, p=0.04))
    full = [book.entry(id).evidence["full"] for id in (ID, OURS)]
    assert [e.adjusted_p for e in full] == pytest.approx([0.06, 0.06])
    assert [e.mechanism for e in full] == ["inconclusive", "inconclusive"]
    assert book.entry(OURS).evidence["gpu"].mechanism == "supported"


def test_a_value_without_p_takes_no_part_in_the_correction(book):
    book.run("kdpp/exactness", measured(0, 0.03, p=0.04), measured(0, 0.03, id=OURS))
    assert book.entry().headline.adjusted_p == pytest.approx(0.04)
    assert book.entry(OURS).headline.adjusted_p is None


def test_measured_but_not_listed(book):
    book.run("kdpp/exactness", measured(0, 1, id="kdpp/exactness/other"))
    with pytest.raises(LedgerError, match=r"kdpp/exactness.ipynb measures kdpp/exactness/other, which .* not list"):
        book.entry()


def test_measured_without_a_threshold(book):
    book.claims(ROW | {"holds_if": None})
    assert book.entry().mechanism == "not yet measured"
    book.run("kdpp/exactness", measured(0, 1))
    with pytest.raises(LedgerError, match=rf"kdpp/exactness.ipynb measures {ID}, whose holds_if is null"):
        book.entry()


def test_recorded_but_not_listed(book):
    book.recorded("a.json", measured(0, 1, id="kdpp/exactness/other"))
    with pytest.raises(LedgerError, match=r"a.json measures kdpp/exactness/other"):
        book.entry()


def test_measured_in_another_notebook_than_its_id_says(book):
    book.run("kdpp/few_looks", measured(0, 1))
    with pytest.raises(LedgerError, match=rf"kdpp/few_looks.ipynb measures {ID}: an id begins with its own notebook"):
        book.entry()


def test_measured_twice_in_a_notebook(book):
    book.run("kdpp/exactness", measured(0, 1), measured(0, 1))
    with pytest.raises(LedgerError, match=rf"kdpp/exactness.ipynb: .*{ID} is recorded twice"):
        book.entry()


def test_run_without_a_scale(book):
    book.run("kdpp/exactness", measured(0, 1), scale=None)
    with pytest.raises(LedgerError, match=r"kdpp/exactness.ipynb: no scale in its metadata"):
        book.entry()


def test_recorded_twice_at_one_scale(book):
    book.recorded("a.json", measured(0, 1)).recorded("b.json", measured(0, 1))
    with pytest.raises(LedgerError, match=rf"recorded/b.json: {ID} is recorded twice at scale gpu"):
        book.entry()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "a.json cannot be read"),
        ('{"scale": "gpu", "measurements": []}', "a.json cannot be read: KeyError: 'provenance'"),
        ('{"scale": "gpu", "provenance": {}, "measurements": [{"id": "x"}]}', "a.json cannot be read: TypeError"),
        ('{"scale": "big", "provenance": {}, "measurements": []}', "a.json: scale must be one of"),
    ],
)
def test_record_that_cannot_be_read(book, text, message):
    (book.folder / "recorded").mkdir()
    (book.folder / "recorded" / "a.json").write_text(text)
    with pytest.raises(LedgerError, match=message):
        book.entry()


def test_as_json_is_json(book):
    entry = book.run("kdpp/exactness", measured(0.01, 0.03, p=0.001)).entry().as_json()
    assert json.loads(json.dumps(entry)) == entry
    assert (entry["id"], entry["chapter"], entry["mechanism"], entry["figure"]) == (ID, "kdpp", "supported", "untested")
    full = entry["measured"]["full"]
    assert (full["low"], full["high"], full["p"], full["adjusted_p"]) == (0.01, 0.03, 0.001, 0.001)


# ---- keeping what was measured


def _record(*arguments):
    command = [sys.executable, str(ROOT / "workflow" / "record.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_record_keeps_a_run_for_books_without_it(book, tmp_path):
    run = book.run("kdpp/exactness", measured(0, 0.03, p=0.01), scale="gpu").folder / "kdpp/exactness.ipynb"
    before = book.entry().headline
    done = _record(run, "--book", book.folder)
    assert done.returncode == 0, done.stderr
    run.unlink()
    after = book.entry().headline
    assert after.recorded and (after.measurement, after.provenance) == (before.measurement, before.provenance)
    assert [p.name for p in (book.folder / "recorded").iterdir()] == ["kdpp.exactness.gpu.json"]


def test_record_refuses_what_claims_yml_does_not_list(book):
    run = book.run("kdpp/exactness", measured(0, 1, id="kdpp/exactness/other")).folder / "kdpp/exactness.ipynb"
    done = _record(run, "--book", book.folder)
    assert done.returncode != 0 and "kdpp/exactness/other, which claims.yml does not list" in done.stderr
    assert not (book.folder / "recorded").exists()


def test_record_keeps_further_seeds_beside_the_first(book):
    run = book.folder / "kdpp/exactness.ipynb"
    kept = book.folder / "recorded"
    for seed, low in ((200, 0), (400, 0.01), (500, 0.02), (400, 0.005)):  # the last replaces the second
        book.run("kdpp/exactness", measured(low, 0.03), seed=seed, draws=7)
        record(run, book.folder)
    run.unlink()
    names = [f"kdpp.exactness.full{further}.json" for further in ("", ".seed400", ".seed500")]
    assert sorted(p.name for p in kept.iterdir()) == names
    entry = book.entry()
    assert (entry.headline.seed, entry.headline.measurement.low) == (200, 0)
    assert [(e.seed, e.measurement.low) for e in entry.further["full"]] == [(400, 0.005), (500, 0.02)]
    assert entry.seeds == "same at every seed"
    book.run("kdpp/exactness", measured(0.5, 0.6), seed=200, draws=7)
    record(run, book.folder)
    assert sorted(p.name for p in kept.iterdir()) == names and book.entry().mechanism == "contradicted"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"seed": 400, "draws": 8}, r"kdpp.exactness.full.json was made with other values of draws: "),
        ({"draws": 7}, r"kdpp.exactness.full.json is of seed 200, and this run does not say its seed"),
    ],
)
def test_record_refuses_a_further_seed_that_repeats_nothing(book, parameters, message):
    run = book.run("kdpp/exactness", measured(0, 0.03), seed=200, draws=7).folder / "kdpp/exactness.ipynb"
    record(run, book.folder)
    before = (book.folder / "recorded" / "kdpp.exactness.full.json").read_bytes()
    book.run("kdpp/exactness", measured(0.5, 0.6), **parameters)
    with pytest.raises(LedgerError, match=message):
        record(run, book.folder)
    assert [p.read_bytes() for p in (book.folder / "recorded").iterdir()] == [before]
