"""What the site has beside the pages of this folder: README, card and changelog, and a page of every room.

A room is a package that says in ``__init__.pyi`` what it hands out. Its page has what is said of it, and the docstrings of
all that it hands out. Links between files of the repository become links between pages.
"""

import ast
import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
#: Package → what its rooms are about, in the order of the site.
PACKAGES = {"mdbench": "score and diagnose", "zoo_builder": "build and measure", "leaderboard": "the board"}
#: File beside this folder → its page.
PAGES = {
    "README.md": "index.md",
    "mdbench/README.md": "card.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")


def rooms() -> dict[str, Path]:
    """Return packages and their rooms, name → the file that says what it hands out; rooms inside of rooms are left out."""
    faces = [
        path
        for package in PACKAGES
        for path in (ROOT / package / "__init__.pyi", *sorted((ROOT / package).glob("*/__init__.pyi")))
        if path.is_file()
    ]
    return {".".join(path.parent.relative_to(ROOT).parts): path for path in faces}


def handed_out(face: Path) -> list[str]:
    """Return the full names of what a room hands out, in its own order."""
    package = face.parent.relative_to(ROOT).parts
    found = []
    for node in ast.parse(face.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = [*above, *([node.module] if node.module else [])]
            found += [".".join((*module, one.name)) for one in node.names]
    return found


def page_of(room: str, face: Path) -> str:
    """Return a room's page, in Markdown."""
    said = ast.get_docstring(ast.parse((face.parent / "__init__.py").read_text(encoding="utf-8"))) or ""
    names = [f"::: {name}" for name in handed_out(face)]
    return "\n\n".join([f"# {room}", said, *names]) + "\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the rooms into the navigation."""
    parts: dict[str, list[dict[str, str]]] = {package: [] for package in PACKAGES}
    for room in rooms():
        parts[room.split(".")[0]].append({room: f"rooms/{room}.md"})
    every = [{f"{package}: {PACKAGES[package]}": pages} for package, pages in parts.items()]
    config.nav = [*(config.nav or []), {"Reference": every}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are written here, and files beside this folder that pages lead to."""
    for source, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text(encoding="utf-8")))
    for room, face in rooms().items():
        files.append(File.generated(config, f"rooms/{room}.md", content=page_of(room, face)))
    for page in [*files.documentation_pages()]:
        for link in _LINK.findall(page.content_string):
            target = _target(page.src_uri, link)
            inside = target.is_relative_to(DOCS) or target.relative_to(ROOT).as_posix() in PAGES
            if target.is_file() and not inside and files.get_file_from_path(_uri(target)) is None:
                files.append(File.generated(config, _uri(target), abs_src_path=str(target)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links lead to where files are on the site."""
    here = PurePosixPath(page.file.src_uri).parent

    def moved(link: re.Match[str]) -> str:
        return os.path.relpath(_uri(_target(page.file.src_uri, link[0])), here)

    return _LINK.sub(moved, markdown)


def _target(uri: str, link: str) -> Path:
    """Return which file of the repository a page's link is about."""
    written = {page: source for source, page in PAGES.items()}
    source = ROOT / written[uri] if uri in written else DOCS / uri
    return Path(os.path.normpath(source.parent / link))


def _uri(target: Path) -> str:
    """Return where a file of the repository is on the site."""
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    name = target.relative_to(ROOT).as_posix()
    return PAGES.get(name, name)
