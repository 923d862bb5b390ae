"""The built site in a real browser: every page, at desktop and phone width, in light and dark."""

import contextlib
import functools
import http.server
import json
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
import yaml
from playwright.sync_api import sync_playwright

# A first build runs every notebook, and has a limit of its own: here only the tests themselves are timed.
pytestmark = [pytest.mark.site, pytest.mark.timeout(600, func_only=True)]
ROOT = Path(__file__).parents[1]
SITE = ROOT / "_build/test/html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NOTEBOOKS = sorted(path.relative_to(ROOT / "notebooks") for path in ROOT.glob("notebooks/*/*.ipynb"))
SHARES = 6  # the pages are visited in shares, which test processes side by side take from each other
IN_SHARES = pytest.mark.parametrize("share", range(SHARES))
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


@contextlib.contextmanager
def served(folder: Path):
    """The address of `folder` on the loopback interface."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def site(built):
    """The book at `quick`, served."""
    with served(SITE) as address:
        yield address


@pytest.fixture(scope="module")
def pages(built) -> list[str]:
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


@pytest.fixture(scope="module")
def desktop(browser):
    """One reader for all pages: what pages share is fetched and compiled once."""
    return browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")


@pytest.fixture(scope="module")
def phone(browser):
    return browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="light")


def dress(page, theme: str) -> None:
    """Show the page in `theme`, colours that fade at their end: a browser that nobody watches may draw no frame."""
    page.emulate_media(color_scheme=theme)
    page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    page.evaluate("() => document.getAnimations().forEach(each => each.finish())")


@contextlib.contextmanager
def opened(reader, url: str, listen=None):
    """A settled light page: loaded, formulas set, lazily loaded images there."""
    page = reader.new_page()
    if listen:
        listen(page)
    page.goto(url)
    dress(page, "light")
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
    assert {str(name.with_suffix("")) for name in NOTEBOOKS} <= set(files(toc)), "a notebook is missing from _toc.yml"


def foot_faults(page, name: Path) -> list[str]:
    """What the foot of an executed notebook's page fails to offer: how it was made, the command, the notebook."""
    text = page.locator("footer.provenance").inner_text()
    href = page.locator("footer.provenance a[download]").get_attribute("href")
    offered = json.loads((SITE / name.parent / href).read_text())["metadata"]["selectlib"]["scale"]
    expected = ("scale quick", "seed 100", "torch", f"papermill notebooks/{name}")
    faults = [f"foot: {word!r} is missing from {text!r}" for word in expected if word not in text]
    return faults + [f"foot: a notebook of scale {offered} is offered"] * (offered != "quick")


def desktop_faults(reader, site: str, name: str) -> list[str]:
    """One visit: what the page requests and reports, formulas and images, text in light and dark, a notebook's foot."""
    faults = []

    def listen(page):
        def note(kind, text):
            faults.append(f"{page.url}: {kind}: {text}")

        page.on("console", lambda message: message.type == "error" and note("console", message.text))
        page.on("pageerror", lambda error: note("script error", error))
        page.on("requestfailed", lambda request: note("failed", request.url))
        page.on("response", lambda response: response.status >= 400 and note(response.status, response.url))
        page.on("request", lambda r: r.url.startswith((site, "data:", "blob:")) or note("external", r.url))

    with opened(reader, site + name, listen) as page:
        faults += [f"{name}: formula not set: {text}" for text in page.evaluate("unsetMath()")]
        faults += [f"{name}: image: {text}" for text in page.evaluate("badImages()")]
        for theme in ("light", "dark"):
            dress(page, theme)
            faults += [f"{name}: {theme}: faint: {text}" for text in page.evaluate("faintText()")]
        if (notebook := Path(name).with_suffix(".ipynb")) in NOTEBOOKS:
            faults += [f"{name}: {text}" for text in foot_faults(page, notebook)]
        page.wait_for_load_state("networkidle")  # half a second of silence: nothing is asked for later
    return faults


def phone_faults(reader, site: str, name: str) -> list[str]:
    with opened(reader, site + name) as page:
        return [f"{name}: {text}" for text in page.evaluate("tooWide()")]


@IN_SHARES
def test_pages_are_whole_and_legible_and_ask_nobody_else(site, pages, desktop, share):
    faults = [fault for name in pages[share::SHARES] for fault in desktop_faults(desktop, site, name)]
    assert not faults, "\n".join(faults)


@IN_SHARES
def test_no_page_is_wider_than_a_phone(site, pages, phone, share):
    faults = [fault for name in pages[share::SHARES] for fault in phone_faults(phone, site, name)]
    assert not faults, "\n".join(faults)


FAULTY = """<!doctype html><html><head><style>
  p { color: #000; transition: color 0.3s; } html[data-theme=dark] p { color: #eee; } body { background: #fff; }
</style></head><body><main>
  <p>faint in the dark</p> <h2 style="color: #ddd">faint in both</h2> <div class="math">x^2</div>
  <img src="none.png" alt="lost"> <img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" alt="">
  <div style="width: 800px">wide</div>
</main><script>
  const set = document.createElement("mjx-container"); document.querySelector(".math").append(set);
  set.append(document.createElement("mjx-merror"));
  setTimeout(() => fetch("http://127.0.0.2:9/later").catch(() => {}), 300); console.error("said");
  throw new Error("thrown");
</script></body></html>"""


def test_a_page_with_faults_is_caught(tmp_path, desktop, phone):
    (tmp_path / "faulty.html").write_text(FAULTY)
    (tmp_path / "sound.html").write_text(
        "<!doctype html><link rel='icon' href='data:,'><main><p>All is well.</p></main>"
    )
    with served(tmp_path) as address:
        faults = "\n".join(desktop_faults(desktop, address, "faulty.html"))
        for fault in (
            "console: said",
            "script error: thrown",
            "404: " + address + "none.png",
            "external: http://127.0.0.2:9/later",
            "formula not set",
            'image: none.png alt="lost"',
            'alt=""',
            "light: faint: 1.36 H2 faint in both",
            "dark: faint: 1.16 P faint in the dark",
        ):
            assert fault in faults, f"{fault!r} is not among\n{faults}"
        assert "light: faint: 1.16 P" not in faults
        assert phone_faults(phone, address, "faulty.html")
        assert not desktop_faults(desktop, address, "sound.html") + phone_faults(phone, address, "sound.html")


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


def test_search_finds_a_word(site, desktop):
    with opened(desktop, site + "search.html?q=determinantal") as page:
        page.wait_for_selector("#search-results li a", timeout=20_000)
        assert any("kdpp" in link.get_attribute("href") for link in page.query_selector_all("#search-results li a"))


def test_the_scorecard_is_data_too(site):
    rows = json.loads((SITE / "_static/scorecard.json").read_text())
    listed = yaml.safe_load((ROOT / "book/claims.yml").read_text())
    assert [row["id"] for row in rows] == [row["id"] for row in listed]
    mechanism = {"supported", "contradicted", "inconclusive", "not yet measured"}
    assert {row["mechanism"] for row in rows} <= mechanism
    measured = [row for row in rows if row["chapter"] == "kdpp" and row["mechanism"] != "not yet measured"]
    assert measured, "the k-DPP chapter has measured nothing"


def test_the_scorecard_filters_by_paper_and_verdict(site, desktop):
    with opened(desktop, site + "scorecard.html") as page:
        everything = page.locator("main table tbody tr[data-chapter]").count()
        rows = page.locator("main table tbody tr[data-chapter]:visible")
        assert rows.count() == 0  # all is folded until something is asked for
        page.get_by_label("Paper").select_option("kdpp")
        of_kdpp = rows.count()
        page.get_by_label("Mechanism verdict").select_option("not yet measured")
        assert 0 < rows.count() < of_kdpp < everything
