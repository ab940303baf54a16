"""The house: packages, rooms and files import one way, from the ground up, and never in a circle.

``pytest -s -k house tests/test_architecture.py`` prints how many rooms and floors each package has.
"""

import ast
import re
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "mdbench": {"baselines", "zoo_builder", "leaderboard", "torch"},
    "baselines": {"zoo_builder", "leaderboard", "torch"},
    "zoo_builder": {"baselines", "leaderboard"},
    "leaderboard": {"zoo_builder", "baselines", "torch"},
}
#: Rooms of a package from the ground up. A file that is in none of them is its own room: below all of them, or above.
ROOMS = {
    "mdbench": ("tables", "sources", "cases", "methods", "scoring", "showing"),
    "zoo_builder": ("specification", "training", "landscape", "building", "reporting", "publishing"),
    "leaderboard": ("entry", "sealing", "submitting", "verifying", "ranking", "site"),
}
BELOW = {
    "mdbench": {"errors", "paths", "files", "revision", "version", "extras", "hub"},
    "zoo_builder": set(),
    "leaderboard": {"paths"},
}
#: Paths that were documented before there were rooms: the same things under their old names.
OLD = {
    "mdbench.tasks": "mdbench.tables.tasks",
    "mdbench.schema": "mdbench.tables.schema",
    "mdbench.zoo": "mdbench.tables.zoo",
    "zoo_builder.models": "zoo_builder.specification.models",
}
ABOVE = {
    "mdbench": {"plugins", "cli", "__main__", "tasks", "schema", "zoo", ""},
    "zoo_builder": {"report", "cli", "models", ""},
    "leaderboard": {"cli", ""},
}
ENTRIES = ROOT / "leaderboard" / "entries"  # what others wrote
SOURCES = [
    path for package in FORBIDDEN for path in sorted((ROOT / package).rglob("*.py")) if ENTRIES not in path.parents
]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in SOURCES}


def room_of(module: str) -> tuple[str, str]:
    """The package and the room of a module; of a file in no room, its own name."""
    package, _, rest = module.partition(".")
    return package, rest.partition(".")[0]


def floor_of(package: str, room: str) -> int:
    if room in ROOMS[package]:
        return 1 + ROOMS[package].index(room)
    assert room in BELOW[package] | ABOVE[package], (
        f"{package}/{room}.py has no place in the house: say which in this test"
    )
    return 0 if room in BELOW[package] else 1 + len(ROOMS[package])


@cache
def imports(module: str) -> frozenset[tuple[str, str]]:
    """What a module, and the stub beside it, import of these packages: (from where, name); (module, "") of plain imports."""
    path, found = MODULES[module], set()
    stub = path.with_suffix(".pyi")
    trees = [ast.parse(file.read_text()) for file in (path, stub) if file.exists()]
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = f"{module}.{node.module or ''}".rstrip(".") if node.level else node.module or ""
            found |= {(origin, alias.name) for alias in node.names}
    return frozenset(found)


@cache
def arrows(module: str) -> frozenset[tuple[str, str]]:
    """What a module imports: modules of these packages, and from where it took each."""
    found = {
        (f"{origin}.{name}" if f"{origin}.{name}" in MODULES else origin, origin) for origin, name in imports(module)
    }
    return frozenset((to, origin) for to, origin in found if to in MODULES and to != module)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported = {name.split(".")[0] for name in names}
    package = path.relative_to(ROOT).parts[0]
    assert not imported & FORBIDDEN[package]
    if package not in ROOMS:
        return
    module = module_of(path)
    own = room_of(module)
    for to, origin in arrows(module):
        there = room_of(to)
        if there == own:
            continue
        if there[0] == package:
            level = floor_of(*there) - floor_of(*own)
            in_rooms = {own[1], there[1]} & set(ROOMS[package])
            assert level < 0 or (level == 0 and not in_rooms), f"{module} → {to} runs back up"
        if there[1] in ROOMS.get(there[0], ()) and module not in OLD:
            assert origin.count(".") <= 1, f"{module} imports {origin} past the face of its room"


def test_files_import_each_other_in_no_circle():
    graph = {module: {to for to, _ in arrows(module)} for module in MODULES}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def levels(graph: dict[str, set[str]]) -> int:
    """How many nodes the longest chain of arrows has."""
    height: dict[str, int] = {}
    for node in TopologicalSorter(graph).static_order():
        height[node] = 1 + max((height[to] for to in graph.get(node, ())), default=0)
    return max(height.values())


@pytest.mark.parametrize("package", ROOMS)
def test_the_house_has_few_floors(package):
    """Rooms, and files in none, are nodes: whoever opens the folder sees the way through."""
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        at, room = room_of(module)
        if at == package and room:
            graph.setdefault(room, set()).update(
                room_of(to)[1]
                for to, _ in arrows(module)
                if room_of(to)[0] == package and room_of(to)[1] not in (room, "")
            )
    sys.stdout.write(
        f"{package}: {len(graph)} rooms and files on {levels(graph)} floors; no circle, no arrow back up\n"
    )
    assert set(ROOMS[package]) <= set(graph)
    assert levels(graph) <= 2 + len(ROOMS[package])


@pytest.mark.parametrize("room", [f"{package}.{room}" for package, rooms in ROOMS.items() for room in rooms])
def test_a_room_says_what_happens_in_it_and_what_it_hands_on(room):
    face = MODULES[room]
    said = ast.get_docstring(ast.parse(face.read_text())) or ""
    assert len(said.split()) > 10
    handed_on = {name for origin, name in imports(room) if room_of(origin) == room_of(room)}
    used = {
        name
        for module in MODULES
        if room_of(module) != room_of(room)
        for origin, name in imports(module)
        if origin == room
    }
    assert used <= handed_on
    assert handed_on - used <= PUBLIC.get(room, set()), "a face hands on what other rooms use, and nothing else"


#: What faces hand on for people alone.
PUBLIC = {"zoo_builder.landscape": {"Data", "Measurements", "Settings", "measure"}}


def test_long_modules_say_why():
    for path in SOURCES:
        text = path.read_text()
        if text.count("\n") > 500:
            assert re.search(r"\b(one file|long)\b", ast.get_docstring(ast.parse(text)) or ""), path


@pytest.mark.parametrize(("old", "new"), OLD.items())
def test_documented_paths_of_old_are_the_same_things(old, new):
    from importlib import import_module

    before, now = import_module(old), import_module(new)
    names = [name for name in vars(now) if not name.startswith("_")]
    assert names
    assert all(getattr(before, name) is getattr(now, name) for name in names)


def test_published_names_appear_in_the_importer_alone():
    names = re.compile(r"\b(bs_failure|width_vs_batch|data_vs_batch|hessian_[te]|para_amount|rfi_(inc|dec)_temp)\b")
    at = [path for path in SOURCES if names.search(path.read_text())]
    assert at == [ROOT / "mdbench" / "sources" / "modeldiagnosis.py"]


def test_nothing_is_unpickled():
    for path in SOURCES:
        assert not re.search(r"\bpickle\b|allow_pickle=True|joblib\.load", path.read_text()), path
