"""The site that `make docs` builds: every room has a page, every link leads somewhere, and nothing is asked of other hosts."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = sorted(
    ".".join(path.parent.relative_to(ROOT).parts)
    for package in ("mdbench", "zoo_builder", "leaderboard")
    for path in (*(ROOT / package).glob("__init__.pyi"), *(ROOT / package).glob("*/__init__.pyi"))
)


class _Page(HTMLParser):
    """What a page has: its anchors, what it links to, and what a browser asks for by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.asked: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        self.anchors |= {said[name] for name in ("id", "name") if said.get(name)}
        if tag == "a" and said.get("href"):
            self.links.append(said["href"])
        if tag in ("script", "img", "iframe") and said.get("src"):
            self.asked.append(said["src"])
        if tag == "link" and said.get("rel") != "canonical" and said.get("href"):
            self.asked.append(said["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, _Page]:
    return {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_room_has_a_page_with_all_that_it_hands_out(pages, site):
    assert len(ROOMS) > 20
    for room in ROOMS:
        page = pages[site / "rooms" / room / "index.html"]
        face = (ROOT / Path(*room.split(".")) / "__init__.pyi").read_text(encoding="utf-8")
        names = re.findall(r"\w+ as (\w+)", face)
        assert names
        ends = {anchor.rsplit(".", 1)[-1] for anchor in page.anchors}
        assert set(names) <= ends, (room, set(names) - ends)


def test_every_link_leads_somewhere(pages, site):
    checked = 0
    for path, page in pages.items():
        for link in page.links:
            there = urlsplit(link)
            if there.scheme or link.startswith(("/", "javascript:")):
                continue
            target = path if not there.path else (path.parent / unquote(there.path)).resolve()
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), (path.relative_to(site), link)
            if there.fragment and target.suffix == ".html":
                assert unquote(there.fragment) in pages[target].anchors, (path.relative_to(site), link)
            checked += 1
    assert checked > 1000


def test_nothing_is_asked_of_other_hosts(pages, site):
    for path, page in pages.items():
        strange = [asked for asked in page.asked if urlsplit(asked).netloc]
        assert not strange, (path.relative_to(site), strange)


def test_types_come_from_signatures_and_prose_from_docstrings(site):
    said = (site / "rooms" / "mdbench.cases" / "index.html").read_text(encoding="utf-8")
    words = " ".join(re.sub(r"<[^>]+>", " ", said).split())
    assert "sweep str the sweep it belongs to: the cases that differ in budget alone." in words
