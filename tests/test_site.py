"""The site: it is built without a warning, needs no network to be read, and leaves nothing out."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import recbole_enhance

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
pytest.importorskip("mkdocs", reason="mkdocs is not installed: `make site` installs it")


class Addresses(HTMLParser):
    """What a page loads by itself, what it links, and the ids that it has."""

    def __init__(self):
        super().__init__()
        self.loaded, self.linked, self.ids = [], [], set()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs.get("id"), attrs.get("name")}
        if tag in ("script", "img", "iframe", "source"):
            self.loaded += [attrs["src"]] if attrs.get("src") else []
        elif tag == "link" and attrs.get("rel") in ("stylesheet", "icon", "preconnect"):
            self.loaded.append(attrs["href"])
        elif tag == "a" and attrs.get("href"):
            self.linked.append(attrs["href"])


def addresses(page):
    parser = Addresses()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return out


def test_the_site_needs_no_network_and_no_link_within_it_is_broken(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 100
    parsed = {page: addresses(page) for page in pages}
    for page, found in parsed.items():
        assert not [src for src in found.loaded if re.match(r"(https?:)?//", src)], page
        if page.name == "404.html":  # its addresses are absolute, for a server
            continue
        for target in [*found.loaded, *found.linked]:
            if re.match(r"[a-z]+:|//|#", target):
                continue
            path, _, anchor = target.partition("#")
            place = (page.parent / path.partition("?")[0]).resolve()
            if place.is_dir():
                place /= "index.html"
            assert place.is_file(), (page, target)
            if anchor and place.suffix == ".html":
                assert anchor in parsed[place].ids, (page, target)


def test_every_page_is_in_the_navigation(site):
    home = addresses(site / "index.html").linked
    pages = [*DOCS.rglob("*.md"), *DOCS.glob("notebooks/*.ipynb")]
    assert len(pages) > 35
    for page in pages:
        assert page.relative_to(DOCS).with_suffix(".html").as_posix() in {
            "index.html",
            *home,
        }, page


def test_pages_show_what_they_should(site):
    def text(name):
        return (site / name).read_text(encoding="utf-8")

    assert "<math " in text("metrics.html")
    assert "arithmatex" not in text("metrics.html") + text("leaderboard_pages.html")
    board = addresses(site / "boards.html").loaded
    assert "results/leaderboards/ml-100k/index.html" in board
    assert (site / "results/leaderboards/plotly.min.js").is_file()
    for page in (DOCS / "notebooks").glob("*.ipynb"):
        assert "<table" in text(f"notebooks/{page.stem}.html")
        assert page.name in addresses(site / f"notebooks/{page.stem}.html").linked
    index = json.loads(text("search/search_index.json"))
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"glossary.html", "papers/dvr.html", "api.html"} <= found
    assert not any(place.startswith("results/") for place in found)  # tables would drown the rest


def test_the_python_page_has_the_whole_face(site):
    headings = set(
        re.findall(
            r'id="recbole_enhance\.[\w.]+\.(\w+)" class="doc doc-heading"',
            (site / "api.html").read_text(encoding="utf-8"),
        )
    )
    originals = {original for _, original in recbole_enhance._FACE.values()}
    assert originals <= headings
    assert set(recbole_enhance._FACE) == set(recbole_enhance.__all__) - {"__version__"}
    assert "Contract" in headings
