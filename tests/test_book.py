"""The built site in a real browser: every page, at desktop and phone width, in light and dark."""

import contextlib
import functools
import http.server
import json
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
import yaml
from playwright.sync_api import sync_playwright

# A first build runs every notebook, and has a limit of its own: here only the tests themselves are timed.
pytestmark = [pytest.mark.site, pytest.mark.timeout(900, func_only=True)]
ROOT = Path(__file__).parents[1]
SITE = ROOT / "_build/test/html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

CHECKS = ROOT / "tests/page_checks.js"


class Links(HTMLParser):
    """Every link target and every anchor of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.hrefs: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.anchors |= {named[key] for key in ("id", "name") if named.get(key)}
        if tag in ("a", "link") and named.get("href"):
            self.hrefs.append(named["href"])


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing: the tests look at the browser's side."""


@pytest.fixture(scope="module")
def site():
    """Build the book at `quick` in a folder of its own and serve it on the loopback interface."""
    command = [sys.executable, "-m", "snakemake", "book", "--cores", "2", "--config", "build=_build/test"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600)
    assert built.returncode == 0, built.stdout + built.stderr
    handler = functools.partial(Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def pages(site) -> list[str]:
    found = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if "_static" not in path.parts)
    return [page for page in found if page not in ("genindex.html", "py-modindex.html") and "_modules" not in page]


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert path, f"the tests of the site need one of {', '.join(BROWSERS)}"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@contextlib.contextmanager
def opened(browser, url: str, viewport: dict = DESKTOP, theme: str = "light", listen=None):
    """A settled page: loaded, formulas set, lazily loaded images there; with `listen` also half a second of silence."""
    page = browser.new_page(viewport=viewport, color_scheme=theme)
    if listen:
        listen(page)
    page.goto(url, wait_until="networkidle" if listen else "load")
    page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    page.evaluate("() => document.querySelectorAll('img').forEach(image => { image.loading = 'eager'; })")
    page.wait_for_function("() => [...document.images].every(image => image.complete)")
    page.wait_for_function("() => !document.querySelector('main .math') || document.querySelector('mjx-container')")
    page.evaluate("() => window.MathJax?.startup?.promise")
    page.evaluate("() => document.fonts.ready.then(() => true)")
    page.add_script_tag(path=CHECKS)
    yield page
    page.close()


def test_every_page_of_the_table_of_contents_is_there(site):
    def files(node):
        if isinstance(node, dict):
            yield from ([node["file"]] if "file" in node else [])
            for value in node.values():
                yield from files(value)
        elif isinstance(node, list):
            for value in node:
                yield from files(value)

    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    assert not [name for name in [toc["root"], *files(toc)] if not (SITE / f"{name}.html").exists()]
    notebooks = {str(path.relative_to(ROOT / "notebooks").with_suffix("")) for path in ROOT.glob("notebooks/*/*.ipynb")}
    assert notebooks <= set(files(toc)), "a notebook is missing from _toc.yml"


def test_pages_load_whole_and_ask_nobody_else(site, pages, browser):
    problems = []

    def listen(page):
        def note(kind, text):
            problems.append(f"{page.url}: {kind}: {text}")

        page.on("console", lambda message: message.type == "error" and note("console", message.text))
        page.on("pageerror", lambda error: note("script error", error))
        page.on("requestfailed", lambda request: note("failed", request.url))
        page.on("response", lambda response: response.status >= 400 and note(response.status, response.url))
        page.on("request", lambda r: r.url.startswith((site, "data:", "blob:")) or note("external", r.url))

    for name in pages:
        with opened(browser, site + name, listen=listen) as page:
            problems += [f"{name}: formula not set: {text}" for text in page.evaluate("unsetMath()")]
            problems += [f"{name}: image: {text}" for text in page.evaluate("badImages()")]
    assert not problems, "\n".join(problems)


def test_no_page_is_wider_than_a_phone(site, pages, browser):
    problems = []
    for name in pages:
        with opened(browser, site + name, PHONE) as page:
            problems += [f"{name}: {text}" for text in page.evaluate("tooWide()")]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_legible(site, pages, browser, theme):
    problems = []
    for name in pages:
        with opened(browser, site + name, theme=theme) as page:
            problems += [f"{name}: {text}" for text in page.evaluate("faintText()")]
    assert not problems, "\n".join(problems)


def test_links_resolve(site, pages):
    parsed = {name: Links((SITE / name).read_text()) for name in pages}
    problems = []
    for name, links in parsed.items():
        for href in links.hrefs:
            target = urlsplit(urljoin(f"http://site/{name}", href))
            if target.netloc != "site" or target.scheme not in ("http", "https"):
                continue
            path = unquote(target.path).lstrip("/") or "index.html"
            if not (SITE / path).exists():
                problems.append(f"{name}: {href}: no such page")
            elif target.fragment and path in parsed and unquote(target.fragment) not in parsed[path].anchors:
                problems.append(f"{name}: {href}: no such anchor")
    assert not problems, "\n".join(sorted(set(problems)))


def test_search_finds_a_word(site, browser):
    with opened(browser, site + "search.html?q=determinantal") as page:
        page.wait_for_selector("#search-results li a", timeout=20_000)
        assert any("kdpp" in link.get_attribute("href") for link in page.query_selector_all("#search-results li a"))


def test_each_notebook_page_offers_itself_and_its_command(site, browser):
    for notebook in ROOT.glob("notebooks/*/*.ipynb"):
        name = notebook.relative_to(ROOT / "notebooks")
        with opened(browser, site + str(name.with_suffix(".html"))) as page:
            foot = page.locator("footer.provenance").inner_text()
            href = page.locator("footer.provenance a[download]").get_attribute("href")
        for word in ("scale quick", "seed 100", "torch", f"papermill notebooks/{name}"):
            assert word in foot, f"{name}: {word!r} is missing from {foot!r}"
        offered = json.loads((SITE / name.parent / href).read_text())
        assert offered["metadata"]["selectlib"]["scale"] == "quick"


def test_the_scorecard_is_data_too(site):
    rows = json.loads((SITE / "_static/scorecard.json").read_text())
    listed = yaml.safe_load((ROOT / "book/claims.yml").read_text())
    assert [row["id"] for row in rows] == [row["id"] for row in listed]
    mechanism = {"supported", "contradicted", "inconclusive", "not yet measured"}
    assert {row["mechanism"] for row in rows} <= mechanism
    measured = [row for row in rows if row["chapter"] == "kdpp" and row["mechanism"] != "not yet measured"]
    assert measured, "the k-DPP chapter has measured nothing"


def test_the_scorecard_filters_by_paper_and_verdict(site, browser):
    with opened(browser, site + "scorecard.html") as page:
        rows = page.locator("main table tbody tr[data-chapter]:visible")
        everything = rows.count()
        page.get_by_label("Paper").select_option("kdpp")
        of_kdpp = rows.count()
        page.get_by_label("Verdict").select_option("not yet measured")
        assert 0 < of_kdpp < everything and rows.count() < of_kdpp
