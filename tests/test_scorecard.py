"""The scorecard in a real Sphinx build: what the pages show, what is built again, and what stops the build."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
import yaml
from playwright.sync_api import sync_playwright

from selectlib.claims import MIME_TYPE, Measurement

ROOT = Path(__file__).resolve().parent.parent
EXTENSION = ROOT / "book" / "_ext"
CONF = f"""
import sys
sys.path.insert(0, {str(EXTENSION)!r})
project = "book"
extensions = ["myst_nb", "scorecard"]
nb_execution_mode = "off"
suppress_warnings = ["mystnb.unknown_mime_type"]
exclude_patterns = ["_out", "jupyter_execute"]
html_static_path = [{str(ROOT / "book" / "_static")!r}]
html_css_files = ["scorecard.css"]
html_js_files = ["scorecard.js"]
html_theme = "basic"
"""


def row(id, **changes):
    paper = {
        "figure": "3 to 4 times <faster>",
        "where": "Table 2",
        "setting": "digits",
        "provenance": "[paper text]",
        "matches_if": "in [3, 4]",
    }
    return {
        "id": id,
        "chapter": id.split("/")[0],
        "claim": "C1",
        "source": "paper",
        "statement": "The law is exact if a < b & c, at O(n_items * k^2).",
        "paper": paper,
        "measure": "distance between the laws",
        "holds_if": "<= 0.04",
        "scale": "quick",
        "note": "Finite draws.",
    } | changes


def ours(id, **changes):
    return {key: value for key, value in row(id, source="ours", claim="O1", **changes).items() if key != "paper"}


ROWS = [
    row("lion/update/sign", holds_if=None),
    row("kdpp/exactness/tv"),
    row("kdpp/exactness/bias", holds_if="> 0"),
    ours("kdpp/exactness/looks", scale="full"),
    row(
        "kdpp/exactness/cost",
        paper={"figure": None, "where": None, "setting": None, "matches_if": None, "provenance": "none"},
    ),
    row("dsdm/predict/gap"),
    row("dsdm/predict/same"),
    ours("dsdm/predict/turned"),
]
RUN = [
    Measurement("kdpp/exactness/tv", 0.02, 0.01, 0.03, 1200, 0.01),
    Measurement("kdpp/exactness/bias", -2.0, -3.0, -1.0, 40),
    Measurement("kdpp/exactness/looks", 0.01, 0.005, 0.02, 7),
]


SEEDS = {  # what runs at scale full measured: the first decides, the second repeats it
    200: [("gap", 0.01, 0.03), ("same", 0.01, 0.03), ("turned", 0.01, 0.03)],
    400: [("gap", 0.01, 0.06), ("same", 0.02, 0.03), ("turned", 0.05, 0.06)],
}


def write_seeds(source):
    for seed, measured in SEEDS.items():
        rows = [vars(Measurement(f"dsdm/predict/{name}", low, low, high, 9)) for name, low, high in measured]
        content = {"scale": "full", "provenance": {"seed": seed, "git": f"c{seed}"}, "measurements": rows}
        name = "dsdm.predict.full.json" if seed == 200 else f"dsdm.predict.full.seed{seed}.json"
        (source / "recorded" / name).write_text(json.dumps(content))


def write_notebook(source, run):
    outputs = [
        nbformat.v4.new_output(
            "display_data", {MIME_TYPE: vars(m), "text/plain": m.text, "text/html": f"<table><tr><td>{m.id}</table>"}
        )
        for m in run
    ]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# Exactness"), nbformat.v4.new_code_cell("measure()", outputs=outputs)],
        metadata={
            "language_info": {"name": "python", "pygments_lexer": "ipython3"},
            "selectlib": {"scale": "quick", "git": "abc123", "device": "cpu"},
        },
    )
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell{number}"
    nbformat.write(notebook, source / "kdpp" / "exactness.ipynb")


def write(source):
    """A small book: enough pages that Sphinx reads them in parallel, most of them quoting a claim."""
    (source / "kdpp").mkdir(parents=True, exist_ok=True)
    (source / "conf.py").write_text(CONF)
    (source / "claims.yml").write_text(yaml.safe_dump(ROWS))
    (source / "index.md").write_text(
        "# Book\n\n```{toctree}\n:glob:\n\nscorecard\nkdpp/index\nkdpp/exactness\npage*\nplain\ncontributing\n```\n\n"
        "Chapter: {verdicts}`kdpp`, {verdicts}`lion`, {verdicts}`eada`. Seeds: {verdicts}`dsdm`.\n\n"
        "Of {verdicts}`all:claims` claims {verdicts}`all:measured` measured, {verdicts}`all:supported` supported"
        " ({verdicts}`all/paper:supported` of papers, {verdicts}`all/ours:supported` ours,"
        " {verdicts}`dsdm/ours:supported` in DsDm), {verdicts}`all:contradicted` contradicted,"
        " {verdicts}`all:replicated` tried again,"
        " {verdicts}`all:depends` differ, {verdicts}`all:contradictory` turned; {verdicts}`all:unknown` unknown.\n\n"
        "Ours: {verdicts}`all/ours`.\n"
    )
    (source / "scorecard.md").write_text("# All\n\n```{scorecard}\n```\n")
    (source / "plain.md").write_text("# Plain\n\nNo claims here.\n")
    (source / "contributing.md").write_text("# Contributing\n\n## Filling in a paper's figure\n\nRead the paper.\n")
    (source / "kdpp" / "index.md").write_text("# k-DPP\n\n```{scorecard}\n:chapter: kdpp\n```\n")
    for i in range(8):
        (source / f"page{i}.md").write_text(f"# Page {i}\n\nDistance {{claim}}`kdpp/exactness/tv`.\n")
    (source / "page0.md").write_text(
        "# Parts\n\n"
        "- all {claim}`kdpp/exactness/tv`\n"
        "- value {claim}`kdpp/exactness/tv:value`\n"
        "- samples {claim}`kdpp/exactness/tv:n`\n"
        "- verdict {claim}`kdpp/exactness/bias:verdict`\n"
        "- figure {claim}`kdpp/exactness/tv:figure`\n"
        "- recorded {claim}`kdpp/exactness/bias@gpu`\n"
        "- nothing {claim}`kdpp/exactness/cost`\n"
        "- not there {claim}`kdpp/exactness/tv@paper:value`\n"
        "- small {claim}`kdpp/exactness/looks`\n"
        "- first seed {claim}`dsdm/predict/gap`\n"
        "- seeds {claim}`dsdm/predict/gap:seeds`\n"
        "- one seed {claim}`dsdm/predict/same:seeds`\n"
        "- flagged {claim}`dsdm/predict/turned:verdict`\n"
        "- no seed {claim}`kdpp/exactness/cost:seeds`\n"
    )
    write_notebook(source, RUN)
    (source / "recorded").mkdir(exist_ok=True)
    recorded = [vars(Measurement("kdpp/exactness/bias", 5.0, 4.0, 6.0, 900, None, 0.99))]
    write_seeds(source)
    (source / "recorded" / "kdpp.exactness.gpu.json").write_text(
        json.dumps({"scale": "gpu", "provenance": {"device": "A large GPU"}, "measurements": recorded})
    )


def build(source, *options):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-j", "2", *options, source, source / "_out"]
    environment = os.environ | {"NO_COLOR": "1", "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)


def text_of(fragment):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", fragment)).split())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    source = tmp_path_factory.mktemp("book")
    write(source)
    done = build(source)
    assert done.returncode == 0, done.stderr
    return source / "_out"


@pytest.fixture(scope="module")
def card(site):
    return (site / "scorecard.html").read_text()


def table_row(page, id):
    place = "claim-" + id.replace("/", "-").replace("_", "-")
    return re.search(rf'<tr id="{place}".*?</tr>', page, re.S)[0]


def test_row_shows_the_claim_the_figure_the_test_and_the_verdicts(card):
    shown = table_row(card, "kdpp/exactness/tv")
    text = text_of(shown)
    for part in (
        "The law is exact if a < b & c, at O(n_items * k^2).",  # plain text: no sign in it is markup
        "3 to 4 times <faster>",
        "Table 2 · [paper text]",
        "distance between the laws",
        "Holds if ≤ 0.04, from scale quick on.",
        "0.02 [0.01, 0.03], n = 1,200, p = 0.01, 0.01 corrected",
        "scale quick · cpu · commit abc123",
        "✓ supported",
        "○ untested",
        "Finite draws.",
    ):
        assert part in text
    assert 'data-mechanism="supported"' in shown and 'data-figure="untested"' in shown


def test_largest_scale_gives_the_verdict_and_each_scale_shows_its_own(card):
    shown = table_row(card, "kdpp/exactness/bias")
    assert 'data-mechanism="supported"' in shown
    text = text_of(shown)
    gpu, quick = text.index("5 [4, 6], n = 900, interval at 99 % ✓ supported"), text.index("-2 [-3, -1]")
    assert gpu < quick and "✗ contradicted" in text[quick:]
    assert "scale gpu · A large GPU · recorded" in text


def test_a_verdict_that_depends_on_the_seed_says_so(card):
    shown = table_row(card, "dsdm/predict/gap")
    assert 'data-mechanism="supported"' in shown and 'data-seeds="verdict depends on the seed"' in shown
    assert 'title="supported at seed 200, inconclusive at seed 400"' in shown
    text = text_of(shown)
    assert "Mechanism✓ supported≠ depends on the seedsupported at seed 200, inconclusive at seed 400" in text
    first, second = "0.01 [0.01, 0.03], n = 9 ✓ supported", "seed 400: 0.01 [0.01, 0.06], n = 9 ? inconclusive"
    assert first in text and second in text and "scale full · seed 200 · commit c200 · recorded" in text
    assert text.index(first) < text.index(second)
    turned = table_row(card, "dsdm/predict/turned")
    assert 'data-seeds="verdict depends on the seed;contradictory between seeds"' in turned
    assert "verdict-contradictory" in turned and "supported at seed 200, contradicted at seed 400" in text_of(turned)
    same = table_row(card, "dsdm/predict/same")
    assert "≠" not in same and "the same at seeds 200 and 400" in text_of(same)
    assert 'data-seeds="same at every seed"' in same
    assert 'data-seeds="one seed or none"' in table_row(card, "kdpp/exactness/tv")


def by_scale(card, id):
    cells = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", table_row(card, id))
    return {scale: text_of(verdict) for scale, verdict in cells}


def test_scales_stand_side_by_side(card):
    assert by_scale(card, "kdpp/exactness/bias") == {
        "quick": "✗ contradicted",
        "full": "not run",
        "gpu": "✓ supported",
        "paper": "untested",
    }
    assert by_scale(card, "kdpp/exactness/looks") == {
        "quick": "too small",
        "full": "not run",
    }  # ours: no paper's setting
    assert by_scale(card, "lion/update/sign") == {"quick": "not run", "full": "not run", "paper": "untested"}
    assert by_scale(card, "dsdm/predict/gap")["full"] == "✓ supported≠ ? inconclusive at seed 400"
    assert by_scale(card, "dsdm/predict/same")["full"] == "✓ supported"


def test_a_figure_that_no_source_was_read_for_leads_to_the_recipe(site, card):
    link = 'href="contributing.html#filling-in-a-papers-figure"'
    assert text_of(table_row(card, "kdpp/exactness/cost")).count("No figure is known.noneFill in this figure") == 1
    assert link in table_row(card, "kdpp/exactness/cost")
    assert card.count(link) == 1
    page = (site / "kdpp" / "index.html").read_text()
    assert page.count('href="../contributing.html#filling-in-a-papers-figure"') == 1


def test_small_scale_is_shown_and_decides_nothing(card):
    shown = table_row(card, "kdpp/exactness/looks")
    assert 'data-mechanism="not yet measured"' in shown and 'data-figure="ours"' in shown
    assert "0.01 [0.005, 0.02]" in shown and "too small a scale to decide" in shown
    assert "this claim is ours" in shown


def test_unmeasured_claims_and_chapters_are_on_the_page(card):
    assert 'data-mechanism="not yet measured"' in table_row(card, "lion/update/sign")
    assert "No threshold yet" in table_row(card, "lion/update/sign")
    counts = [text_of(p) for p in re.findall(r'<p class="scorecard-counts">.*?</p>', card)]
    assert counts == [
        "The mechanism: ✓ 5 supported ○ 3 not yet measured"
        " ≠ 2 of these depend on the seed ≠ 1 contradictory between seeds",
        "The paper’s figure: ○ 5 untested – 1 no figure known",
    ]
    assert "3 of 5 verdicts were tried again with another seed; 1 came out the same." in text_of(card)


def test_html_is_well_formed(card):
    """Raw pieces and nodes are put together by hand: every element that opens must close in order."""

    class Check(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open = []

        def handle_starttag(self, tag, attrs):
            if tag not in {"br", "meta", "link", "input", "img", "hr", "wbr"}:
                self.open.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    check = Check()
    check.feed(card)
    assert check.open == []


def test_chapter_table_holds_its_chapter_alone(site):
    page = (site / "kdpp" / "index.html").read_text()
    assert len(re.findall(r"<tr id=", page)) == 4 and "lion" not in page
    assert "data-filter" not in page
    assert 'href="../_static/scorecard.json"' in page


def test_chapter_table_is_folded_by_notebook(site):
    page = (site / "kdpp" / "index.html").read_text()
    folds = re.findall(r'<details class="scorecard-group"><summary>(.*?)</summary>(.*?)</table></details>', page, re.S)
    assert [text_of(summary) for summary, _ in folds] == ["exactness: 4 claims ✓ 2 supported ○ 2 not yet measured"]
    assert len(re.findall("<tr id=", folds[0][1])) == 4


def test_chapters_come_in_the_order_of_the_book(card):
    assert re.findall(r'<section [^>]*data-chapter="(\w+)"', card) == ["kdpp", "dsdm", "lion"]


def test_all_claims_are_folded_by_chapter_and_notebook(card):
    folds = re.findall(r'<details class="scorecard-group"><summary>(.*?)</summary>(.*?)</table></details>', card, re.S)
    assert [text_of(summary).split(" ✓")[0].split(" ○")[0] for summary, _ in folds] == [
        "exactness: 4 claims",
        "predict: 3 claims",
        "update: 1 claim",
    ]
    assert [len(re.findall("<tr id=", rows)) for _, rows in folds] == [4, 3, 1]


def test_full_table_links_the_chapters_it_has(card):
    assert re.search(r'<a class="reference internal" href="kdpp/index.html">.*?k-DPP', card)
    assert "data-filter" in card


def test_prose(site):
    page = (site / "page0.html").read_text()
    items = [text_of(item) for item in re.findall(r"<li><p>(.*?)</p>", page, re.S)]
    assert items == [
        "all 0.02 [0.01, 0.03]",
        "value 0.02",
        "samples 1,200",
        "verdict ✓ supported",
        "figure 3 to 4 times <faster>",
        "recorded 5 [4, 6]",
        "nothing not yet measured",
        "not there not yet measured",
        "small 0.01 [0.005, 0.02] (at scale quick)",
        "first seed 0.01 [0.01, 0.03]",
        "seeds supported at seed 200, inconclusive at seed 400",
        "one seed supported at seeds 200 and 400",
        "flagged ✓ supported ≠ contradictory between seeds",
        "no seed not yet measured",
    ]
    assert 'href="kdpp/exactness.html"' in page  # a number leads to what made it


def test_counts_on_cards(site):
    page = text_of((site / "index.html").read_text())
    assert "Chapter: ✓ 2 supported ○ 2 not yet measured, ○ 1 not yet measured, no claims yet." in page
    assert "Seeds: ✓ 3 supported ≠ 2 of these depend on the seed ≠ 1 contradictory between seeds." in page
    assert (
        "Of 8 claims 5 measured, 5 supported (4 of papers, 1 ours, 1 in DsDm), 0 contradicted, 3 tried again,"
        " 2 differ, 1 turned; 1 unknown." in page
    )
    assert (
        "Ours: ✓ 1 supported ○ 1 not yet measured ≠ 1 of these depends on the seed ≠ 1 contradictory between seeds."
        in page
    )


def test_notebook_shows_the_recorded_rows(site):
    page = (site / "kdpp" / "exactness.html").read_text()
    assert "<td>kdpp/exactness/tv" in page


def test_json(site):
    entries = json.loads((site / "_static" / "scorecard.json").read_text())
    assert [e["id"] for e in entries] == [r["id"] for r in ROWS]
    by_id = {e["id"]: e for e in entries}
    assert by_id["kdpp/exactness/tv"]["chapter"] == "kdpp"
    assert (by_id["kdpp/exactness/tv"]["mechanism"], by_id["kdpp/exactness/tv"]["figure"]) == ("supported", "untested")
    assert by_id["kdpp/exactness/looks"]["figure"] is None
    bias = by_id["kdpp/exactness/bias"]["measured"]
    assert list(bias) == ["quick", "gpu"] and bias["gpu"]["recorded"] and not bias["quick"]["recorded"]
    assert (bias["quick"]["value"], bias["quick"]["mechanism"]) == (-2.0, "contradicted")
    assert by_id["lion/update/sign"]["measured"] == {} and by_id["lion/update/sign"]["seeds"] is None
    gap = by_id["dsdm/predict/gap"]
    assert (gap["mechanism"], gap["seeds"]) == ("supported", "depends on the seed")
    assert [(e["seed"], e["mechanism"]) for e in gap["measured"]["full"]["further"]] == [(400, "inconclusive")]
    assert [by_id[f"dsdm/predict/{name}"]["seeds"] for name in ("same", "turned")] == [
        "same at every seed",
        "contradictory between seeds",
    ]


@pytest.mark.site
def test_filter_by_keyboard_and_the_table_without_scripts(site):
    with sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        assert path, "this test needs Chromium"
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(f"file://{site}/scorecard.html")
        shown = page.locator("tr[data-mechanism]:visible")
        assert shown.count() == 0 and page.locator("summary:visible").count() == 3  # all is folded
        assert page.get_by_role("status").inner_text() == "8 of 8 claims"
        page.get_by_label("Paper").focus()
        page.keyboard.press("ArrowDown")
        assert page.get_by_label("Paper").input_value() == "kdpp" and shown.count() == 4
        assert page.locator("tbody:visible").count() == 1 and page.locator(".scorecard-chapter:visible").count() == 1
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowDown")
        assert page.get_by_label("Mechanism verdict").input_value() == "supported" and shown.count() == 2
        assert page.get_by_role("status").inner_text() == "2 of 8 claims"
        page.get_by_role("button", name="Show all").click()
        page.wait_for_function("document.querySelector('output').textContent === '8 of 8 claims'")
        assert shown.count() == 0 and page.locator("summary:visible").count() == 3
        page.get_by_text("predict: 3 claims").click()
        assert shown.count() == 3
        seeds = page.get_by_label("Seeds")
        assert seeds.locator("option").all_inner_texts() == [
            "all",
            "one seed or none",
            "verdict depends on the seed",
            "same at every seed",
            "contradictory between seeds",
        ]
        for answer, names in (
            ("verdict depends on the seed", ["gap", "turned"]),
            ("contradictory between seeds", ["turned"]),
            ("same at every seed", ["same"]),
        ):
            seeds.select_option(answer)
            assert [row.get_attribute("id") for row in shown.all()] == [f"claim-dsdm-predict-{name}" for name in names]
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        plain = browser.new_context(java_script_enabled=False).new_page()
        plain.goto(f"file://{site}/scorecard.html")
        assert plain.locator("tr[data-mechanism]").count() == 8 and plain.locator("select").count() == 0
        assert plain.locator("summary:visible").count() == 3
        plain.goto(f"file://{site}/kdpp/index.html")
        assert plain.locator("tr[data-mechanism]:visible").count() == 0
        plain.goto(f"file://{site}/kdpp/index.html#claim-kdpp-exactness-tv")
        plain.locator("#claim-kdpp-exactness-tv").wait_for(state="visible", timeout=5000)  # its group has opened
        browser.close()


def test_without_the_recipe_its_words_stay_and_a_new_page_is_linked(tmp_path):
    write(tmp_path)
    index, recipe = tmp_path / "index.md", (tmp_path / "contributing.md").read_text()
    whole = index.read_text()
    (tmp_path / "contributing.md").unlink()
    index.write_text(whole.replace("contributing\n", ""))
    assert build(tmp_path).returncode == 0
    page = tmp_path / "_out" / "scorecard.html"
    assert "Fill in this figure" in page.read_text() and "filling-in-a-papers-figure" not in page.read_text()
    (tmp_path / "contributing.md").write_text(recipe)
    index.write_text(whole)
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "contributing.html#filling-in-a-papers-figure" in page.read_text()


def test_pages_that_quote_are_built_again_and_no_others(tmp_path):
    write(tmp_path)
    assert build(tmp_path).returncode == 0
    assert "0 added, 0 changed, 0 removed" in build(tmp_path).stdout
    plain = tmp_path / "_out" / "plain.html"
    before = plain.stat().st_mtime_ns
    write_notebook(tmp_path, [Measurement("kdpp/exactness/tv", 0.5, 0.4, 0.6, 1200), *RUN[1:]])
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr
    for page in ("page5.html", "page0.html", "kdpp/index.html", "scorecard.html"):
        assert "0.5 [0.4, 0.6]" in text_of((tmp_path / "_out" / page).read_text()), page
    assert "✗ 1 contradicted" in text_of((tmp_path / "_out" / "index.html").read_text())
    assert plain.stat().st_mtime_ns == before


WRONG = {
    "{claim}`kdpp/exactness/none`": "'kdpp/exactness/none' is not in claims.yml",
    "{claim}`kdpp/exactness/tv:mean`": "[@quick|full|long|gpu|paper][:value|interval|n|verdict|seeds|figure]",
    "{claim}`kdpp/exactness/tv@huge`": "'kdpp/exactness/tv@huge' is not <id>[@quick",
    "{claim}`kdpp/exactness/looks:figure`": "no figure of the paper is known",
    "{verdicts}`kdp`": "unknown chapter 'kdp'",
    "{verdicts}`all:right`": "'all:right' is not all|<chapter>[/paper|/ours][:claims|measured|supported|",
    "{verdicts}`all/theirs`": "'all/theirs' is not all|<chapter>[/paper|/ours]",
    "```{scorecard}\n:chapter: kdp\n```": "kdp",
}


def test_wrong_quotes_are_warnings(tmp_path):
    write(tmp_path)
    for number, quote in enumerate(WRONG):
        (tmp_path / f"page{number}.md").write_text(f"# Page\n\n{quote}\n")
    done = build(tmp_path)
    assert done.returncode != 0
    for number, message in enumerate(WRONG.values()):
        warnings = [line for line in done.stderr.splitlines() if f"page{number}.md:3" in line]
        assert len(warnings) == 1 and message in warnings[0]


def test_wrong_claims_stop_the_build_with_their_names(tmp_path):
    write(tmp_path)
    (tmp_path / "claims.yml").write_text(yaml.safe_dump([*ROWS, ROWS[1], row("lion/update/cost", scale="huge")]))
    done = build(tmp_path)
    assert done.returncode != 0
    assert "kdpp/exactness/tv: the id is there twice" in done.stderr
    assert "lion/update/cost: scale must be one of" in done.stderr
    assert "Traceback" not in done.stderr
