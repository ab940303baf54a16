"""The house: packages, rooms and files import one way, from the ground up, and never in a circle.

``pytest -s -k house tests/test_architecture.py`` prints how many rooms and floors each package has.
"""

import ast
import re
import sys
from graphlib import TopologicalSorter
from importlib import import_module
from pkgutil import resolve_name

import pytest
from house import OLD, PUBLIC, ROOMS, ROOT, House, read, room_of

HOUSE = House(read())
SOURCES = [ROOT / path for path in HOUSE.sources if path.endswith(".py")]


def test_no_rule_is_broken():
    assert not HOUSE.faults()


#: What is planted: file → what is added to it; and what is then said, as patterns.
PLANTED = {
    "a package that is above": (
        {"leaderboard/paths.py": "import zoo_builder"},
        ["leaderboard.paths imports zoo_builder"],
    ),
    "a package from outside, in a function": (
        {"mdbench/cli.py": "def late():\n    import torch.nn"},
        ["mdbench.cli imports torch"],
    ),
    "a package in a stub": (
        {"leaderboard/entry/__init__.pyi": "import torch"},
        ["leaderboard.entry imports torch"],
    ),
    "a package by a call": (
        {"mdbench/cli.py": 'import importlib\nimportlib.import_module("torch.nn")'},
        ["mdbench.cli imports torch"],
    ),
    "a package by Python's own call": (
        {"mdbench/cli.py": '__import__("zoo_builder", fromlist=["cli"])'},
        ["mdbench.cli imports zoo_builder"],
    ),
    "a package by a call under another name": (
        {"leaderboard/cli.py": 'from importlib import import_module as get\nget(name="baselines")'},
        ["leaderboard.cli imports baselines"],
    ),
    "a room above": (
        {"mdbench/tables/checks.py": "from mdbench.scoring import evaluate"},
        ["a circle: .*", "mdbench.tables.checks → scoring runs back up"],
    ),
    "a room above, by a call": (
        {"mdbench/tables/checks.py": 'from importlib import import_module\nimport_module("mdbench.scoring")'},
        ["a circle: .*", "mdbench.tables.checks → scoring runs back up"],
    ),
    "a room above, by a relative path": (
        {"mdbench/tables/checks.py": "from ..scoring import evaluate"},
        [
            "a circle: .*",
            "mdbench.tables.checks → scoring runs back up",
            "mdbench/tables/checks.py imports by a relative path",
        ],
    ),
    "a room above, by a call with a relative path": (
        {"mdbench/tables/checks.py": 'import_module("..scoring", __package__)'},
        [
            "a circle: .*",
            "mdbench.tables.checks → scoring runs back up",
            "mdbench/tables/checks.py imports by a relative path",
        ],
    ),
    "a loose file above, for one below": (
        {"mdbench/errors.py": "from mdbench import plugins"},
        ["a circle: .*", "mdbench.errors → plugins runs back up"],
    ),
    "a relative path that leads nowhere bad": (
        {"leaderboard/site/lines.py": "from .. import paths"},
        ["leaderboard/site/lines.py imports by a relative path"],
    ),
    "past a room's face": (
        {"leaderboard/cli.py": "from mdbench.tables.labels import decided"},
        ["leaderboard.cli imports mdbench.tables.labels past the face of its room"],
    ),
    "past a room's face, by a call": (
        {"leaderboard/cli.py": 'import_module("mdbench.tables.labels")'},
        ["leaderboard.cli imports mdbench.tables.labels past the face of its room"],
    ),
    "past a room's face, in a method file": (
        {"baselines/random.py": "import mdbench.scoring.stats"},
        ["baselines.random imports mdbench.scoring.stats past the face of its room"],
    ),
    "past a face within the room": (
        {"zoo_builder/training/taped.py": "from zoo_builder.training.kernels.layout import place"},
        ["zoo_builder.training.taped imports zoo_builder.training.kernels.layout past the face of its room"],
    ),
    "past a face within another room": (
        {"zoo_builder/landscape/taped.py": "from zoo_builder.training.kernels import VALUE"},
        ["zoo_builder.landscape.taped imports zoo_builder.training.kernels past the face of its room"],
    ),
    "past the face of the columns": (
        {"mdbench/tables/checks.py": "from mdbench.tables.schema.registry import kind"},
        ["mdbench.tables.checks imports mdbench.tables.schema.registry past the face of its room"],
    ),
    "past the face of the data sets": (
        {"zoo_builder/specification/spec.py": "import zoo_builder.specification.datasets.raw as raw"},
        ["zoo_builder.specification.spec imports zoo_builder.specification.datasets.raw past the face of its room"],
    ),
    "a module that a face does not hand on": (
        {"leaderboard/cli.py": "from mdbench.tables import labels"},
        ["leaderboard.cli takes labels from mdbench.tables, which does not hand it on"],
    ),
    "such a module, as an attribute": (
        {"zoo_builder/landscape/taped.py": "STEP = kernels.layout.STEP"},
        ["zoo_builder.landscape.taped takes layout from zoo_builder.training.kernels, which does not hand it on"],
    ),
    "all names at once": (
        {"leaderboard/cli.py": "from mdbench.tables import *"},
        [r"leaderboard.cli takes \* from mdbench.tables, which does not hand it on"],
    ),
    "an old path": (
        {"zoo_builder/report.py": "from mdbench.tasks import TASKS"},
        ["zoo_builder.report imports mdbench.tasks, an old path"],
    ),
    "an old path, from its package": (
        {"leaderboard/cli.py": "from mdbench import zoo"},
        ["leaderboard.cli imports mdbench.zoo, an old path"],
    ),
    "an old path, as an attribute": (
        {"leaderboard/cli.py": "import mdbench\nmdbench.schema.COLUMNS"},
        ["leaderboard.cli imports mdbench.schema, an old path"],
    ),
    "a circle in a room": (
        {"zoo_builder/training/kernels/layout.py": "from zoo_builder.training.kernels import passes"},
        [r"a circle: .*\bzoo_builder\.training\.kernels\.passes\b.*"],
    ),
    "a name that nobody takes": (
        {"mdbench/cases/__init__.pyi": "from .splits import second as second"},
        ["mdbench.cases hands on second, which nobody takes"],
    ),
    "a name in a module's place": (
        {"mdbench/cases/select.py": ""},
        ["mdbench.cases hands on select, which is the name of a module in it"],
    ),
    "a file that nobody imports": (
        {"leaderboard/site/forgotten.py": "from leaderboard.site import lines"},
        ["nobody imports leaderboard.site.forgotten"],
    ),
    "files that import each other alone": (
        {
            "mdbench/tables/schema/first.py": "from mdbench.tables.schema import second",
            "mdbench/tables/schema/second.py": "",
        },
        ["nobody imports mdbench.tables.schema.first", "nobody imports mdbench.tables.schema.second"],
    ),
    "a loose file": (
        {"zoo_builder/report.py": "from zoo_builder import loose", "zoo_builder/loose.py": ""},
        ["zoo_builder.loose has no place in the house: say which in house.py"],
    ),
    "a room without use": (
        {"leaderboard/parlour/__init__.py": '"""Says nothing."""'},
        [
            "leaderboard.parlour has no place in the house: say which in house.py",
            "leaderboard.parlour says too little of what comes in and what goes out",
            "nobody imports leaderboard.parlour",
        ],
    ),
}


@pytest.mark.parametrize(("planted", "said"), PLANTED.values(), ids=PLANTED)
def test_a_planted_breach_is_found_and_nothing_else(planted, said):
    sources = HOUSE.sources | {path: f"{HOUSE.sources.get(path, '')}\n{text}" for path, text in planted.items()}
    faults = House(sources).faults()
    assert len(faults) == len(said)
    assert all(map(re.fullmatch, said, faults)), faults


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
    for module, arrows in HOUSE.arrows.items():
        at, room = room_of(module)
        if at == package and room:
            there = {to for where, to in map(room_of, arrows) if where == package}
            graph.setdefault(room, set()).update(there - {room, ""})
    sys.stdout.write(
        f"{package}: {len(graph)} rooms and files on {levels(graph)} floors; no circle, no arrow back up\n"
    )
    assert set(ROOMS[package]) <= set(graph)
    assert levels(graph) <= 2 + len(ROOMS[package])


def test_long_modules_say_why():
    for path in SOURCES:
        text = path.read_text()
        if text.count("\n") > 500:
            assert re.search(r"\b(one file|long)\b", ast.get_docstring(ast.parse(text)) or ""), path


#: What modules defined, without an underscore, before there were rooms: old path → where it is now → names.
PUBLISHED = {
    "mdbench.tasks": {"mdbench.tables.tasks": "NONE TASKS Task find_task"},
    "mdbench.schema": {
        "mdbench.tables.schema.column": "Column Family",
        "mdbench.tables.schema.registry": "COLUMNS Kind QUANTILE kind of_family",
        "mdbench.tables.schema.visibility": "VISIBLE_FAMILIES check_visible",
    },
    "mdbench.splits": {"mdbench.cases.splits": "CaseRows Rows codes draw split taking_part"},
    "mdbench.zoo": {
        "mdbench.tables.zoo": "Zoo arrow_tables write_tables",
        "mdbench.tables.loading": "find_zoo load_checkpoints load_zoo only_one read_table zoo_names",
        "mdbench.tables.manifest": "CHECKPOINTS CONFIGURATIONS FORMAT LAYERS MANIFEST InputFile Provenance sha256_of "
        "table_digests",
    },
    "zoo_builder.models": {
        "zoo_builder.specification.models": "BasicBlock Shape cnn1d cnn2d mlp parameter_count resnet18"
    },
}
#: What documents, schemas, entries and method files named besides.
NAMED = """
    mdbench.dataset_path mdbench.evaluate mdbench.load_zoo mdbench.extras.needs mdbench.zoo.Zoo.digest
    mdbench.splits.CaseRows.digests mdbench.splits.draw mdbench.sources.modeldiagnosis.COLUMNS
    zoo_builder.load_checkpoint zoo_builder.landscape.measure zoo_builder.landscape.registry.FAMILIES
    baselines.md_tree.ERROR baselines.md_tree.HIGH baselines.md_tree.LOW baselines.md_tree.PEAK baselines.md_tree.TREES
    baselines.md_tree.MDTree baselines.md_tree.Question baselines.md_tree.columns_as_arrays baselines.md_tree.columns_of
    baselines.md_tree.question baselines.md_tree_exact.MDTreeExact
"""


def test_old_paths_hand_on_what_they_had_and_nothing_else():
    assert set(PUBLISHED) == OLD
    for old, homes in PUBLISHED.items():
        now = {name: getattr(import_module(home), name) for home, names in homes.items() for name in names.split()}
        before = {name: value for name, value in vars(import_module(old)).items() if not name.startswith("_")}
        assert set(before) == set(now), old
        assert all(before[name] is now[name] for name in now), old


@pytest.mark.parametrize("path", NAMED.split())
def test_what_was_named_is_there(path):
    assert resolve_name(path) is not None


@pytest.mark.parametrize("package", PUBLIC)
def test_all_names_of_a_package_are_those_for_people(package):
    found = {}
    exec(f"from {package} import *", found)
    assert set(found) - {"__builtins__"} == PUBLIC[package]


def test_published_names_appear_in_the_importer_alone():
    names = re.compile(r"\b(bs_failure|width_vs_batch|data_vs_batch|hessian_[te]|para_amount|rfi_(inc|dec)_temp)\b")
    at = [path for path in SOURCES if names.search(path.read_text())]
    assert at == [ROOT / "mdbench" / "sources" / "modeldiagnosis.py"]


def test_nothing_is_unpickled():
    for path in SOURCES:
        assert not re.search(r"\bpickle\b|allow_pickle=True|joblib\.load", path.read_text()), path
