"""docs/design.md names what there is: every file, function and attribute, in the order of the rooms, and the true figures."""

import ast
import re
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from test_architecture import ROOMS, SOURCES

from mdbench.cases import load_cases, split
from mdbench.cli import app
from mdbench.tables import decided, find_task, load_zoo

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
POINT = "label_noise=10/data_fraction=75/width=16/batch_size=256"
#: Names of others: of libraries, of the publication, and what is called so in prose.
ELSEWHERE = {"datasets", "lazy_loader", "state_dict", "data_limit", "width_limit"}
PATH = re.compile(r"[\w./-]*(/|\.(py|pyi|md|toml|json|jsonl|jinja|parquet|safetensors|html))$")


def blocks():
    """Yield paragraphs and list items, each with the folder that its files are in; drawings are left out."""
    base = ROOT
    for block in re.split(r"\n\s*\n|\n(?=- )", re.sub(r"^```.*?^```", "", PAGE, flags=re.DOTALL | re.MULTILINE)):
        heading = re.match(r"#+ (?:`([\w/]+)/`)?", block)
        if heading:
            base = ROOT / (heading[1] or "")
        step = re.match(r"\d+\. \*\*`([\w/]+)/`", block)
        yield (ROOT / step[1] if step else base), " ".join(block.split())


BLOCKS = list(blocks())
TOKENS = [(base, token) for base, block in BLOCKS for token in re.findall(r"`([^`]+)`", block)]


@cache
def code() -> tuple[dict[str, set[str]], set[str]]:
    """Return what the packages define, name → the names within it, and the texts that stand in them."""
    names: dict[str, set[str]] = {}
    texts = set()
    for node in (node for path in SOURCES for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.setdefault(node.name, set()).update(map(name_of, node.body))
        elif isinstance(node, ast.AnnAssign):
            names.setdefault(name_of(node), set())
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
    return names, texts


def name_of(node: ast.stmt) -> str:
    return getattr(node, "name", getattr(getattr(node, "target", None), "id", ""))


def files_called(base: Path, path: str) -> list[Path]:
    """Return what a path of the page means: in the room that is spoken of, from the root, or anywhere outside of rooms."""
    found = [place / path for place in (base, ROOT) if (place / path).exists()]
    return found or [source for source in SOURCES if base == ROOT and source.match(path)]


def test_the_files_that_the_page_names_are_there():
    paths = {
        (base, token) for base, token in TOKENS if PATH.match(token) and not {"DIR", "KEY"} & set(token.split("/"))
    }
    assert len(paths) > 100
    written = code()[1]  # by a command, wherever somebody wants it
    assert not [token for base, token in paths if token not in written and not files_called(base, token)]


def test_what_is_said_to_be_in_a_file_is_there():
    said = [
        (base, *found) for base, block in BLOCKS for found in re.findall(r"`([\w.]+)`s? \(`([\w./]+\.py)`\)", block)
    ]
    assert len(said) > 20
    for base, name, path in said:
        (file, *_) = files_called(base, path)
        assert name.partition(".")[0] in map(name_of, ast.parse(file.read_text()).body), f"{name} is not in {path}"


def exists(name: str) -> bool:
    """Tell whether a name is one of the packages or of a library, or a text that the code knows, such as a column's name."""
    names, texts = code()
    first, _, rest = name.partition(".")
    if name in texts | ELSEWHERE or (first in names and (not rest or rest in names[first])):
        return True
    module, _, attribute = name.rpartition(".")
    try:
        return bool(module) and hasattr(import_module(module.replace("nn", "torch.nn")), attribute)
    except ModuleNotFoundError:
        return False


def test_the_names_that_the_page_says_are_there():
    names = {token for _, token in TOKENS if re.fullmatch(r"[A-Za-z_][\w.]*", token) and not PATH.match(token)}
    assert len(names) > 80
    assert not {name for name in names if not exists(name)}


def test_the_commands_of_the_page_are_there():
    for words in (token.split() for _, token in TOKENS):
        if words[0] == "python":
            assert (ROOT / words[1]).is_file()
        if words[0] == "mdbench" and len(words) > 1:
            command = typer.main.get_command(app)
            for word in words[1:]:
                if word.startswith("--"):
                    assert any(word in option.opts for option in command.params)
                else:
                    command = command.get_command(None, word)
                    assert command is not None, words


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_stand_in_their_order(package):
    assert re.findall(rf"^### `{package}/(\w+)/`$", PAGE, re.MULTILINE) == list(ROOMS[package])
    (picture,) = re.findall(r"^```\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    at = [re.search(rf"  {room}  ", picture).start() for room in reversed(ROOMS[package])]
    assert at == sorted(at)


@pytest.mark.parametrize("room", ["mdbench", *(f"{package}/{room}" for package in ROOMS for room in ROOMS[package])])
def test_a_room_says_what_each_of_its_files_is(room):
    folder = ROOT / room
    named = {token.rstrip("/") for base, token in TOKENS if base == folder}
    files = {path.name for path in folder.iterdir() if not path.name.startswith((".", "__"))}
    assert files - named - set(ROOMS.get(room, ())) <= {"py.typed"}


@cache
def walk() -> str:
    return " ".join(PAGE.split("\n## ")[2].split())


def test_the_walk_has_the_figures_of_the_tables():
    zoo = load_zoo("mnist1d-cnn")
    row, networks = zoo.configurations.loc[POINT], zoo.checkpoints[zoo.checkpoints["configuration"] == POINT]

    def error_at(knob, value):
        return zoo.configurations.loc[re.sub(rf"{knob}=\d+", f"{knob}={value}", POINT), "test_error"]

    *most, last = (f"{error:.2f}" for error in networks["test_error"])
    counted = zoo.configurations["failure_source"].isin(find_task("failure_source").classes)
    lists = pd.read_parquet(ROOT / "mdbench" / "data" / "splits.parquet")
    for said in (
        f"{', '.join(most)} and {last} %",
        f"{row['test_error']:.2f} %, with standard deviation {row['test_error_std']:.2f}",
        f"training error {row['train_error']:.2f} %, logarithm of the Hessian's trace {row['log_hessian_trace']:.2f}, "
        f"mode connectivity −{-row['mode_connectivity_peak']:.2f} %",
        f"an error of {error_at('batch_size', 32):.2f} %, so that the RFI of a higher temperature is "
        f"{row['rfi_temperature_up']:.2f} points",
        f"{error_at('data_fraction', 100):.2f} %: {row['rfi_data']:.2f} points",
        f"{error_at('width', 24):.2f} %: {row['rfi_width']:.2f} points",
        f"No larger batch is better: {row['rfi_temperature_down']:g}",
        f"`failure_source` is `{row['failure_source']}`, with a margin of {row['failure_source_margin']:.2f} points and a "
        f"standard error of {row['failure_source_margin_se']:.2f}",
        f"{len(zoo.configurations)} rows × {len(zoo.configurations.columns)} columns",
        f"{decided(zoo, find_task('failure_source')).sum()} of {counted.sum()}",
        f"{sum(POINT in set(names) for names in lists['test'])} of the {len(lists)} lists",
    ):
        assert said in walk()


def test_the_walk_has_the_figures_of_the_builder():
    from zoo_builder.building.plan import LIMITS, plan
    from zoo_builder.specification import Dataset, Material, initialised, networks, read_spec
    from zoo_builder.specification.subsets import draw_subsets
    from zoo_builder.training.tape import Tape

    spec = read_spec(ROOT / "zoos" / "mnist1d-cnn.toml")
    inputs, labels = np.zeros((10_000, 1, 40), np.float32), np.arange(10_000) % 10
    dataset = Dataset("mnist1d", inputs, labels, inputs, labels, 10)
    subsets = draw_subsets(labels, 10, 0)
    material = Material.single(spec, dataset, subsets)
    every = networks(spec, material)
    ours = [one for one in every if one.configuration == POINT]
    units = plan(spec, material, **LIMITS["cpu"]).units
    (unit,) = (unit for unit in units if ours[0] in unit.networks)
    module = initialised(spec, dataset, ours[0])
    tape = Tape(module, dataset.shape)
    assert (len(ours), len(unit.networks)) == (5, 12)
    assert all(one in unit.networks for one in ours)
    for said in (
        f"These are {len(every) // 5} points, with five seeds at each: {len(every):,} networks",
        f"learns from the first {ours[0].examples:,}",
        f"every tenth: {len(subsets.corrupted(75, 10))}",
        f"⌈30 · 7,500 / 256⌉ = {ours[0].steps} steps",
        f"{sum(value.numel() for value in module.parameters()):,} parameters",
        f"here {len(units)} units",
        f"Its key, {len(unit.key)} hexadecimal digits",
        f"{len(tape.steps)} steps over {len(tape.values)} values",
        f"an arena of {tape.size:,} numbers",
        f"{len(module.state_dict())} tensors",
    ):
        assert said in walk()


def test_the_walk_has_the_figures_of_the_board():
    from leaderboard.ranking import assemble

    name = "mnist1d-cnn/optimizer/cross-noise/20"
    (case,) = load_cases(name)
    rows = split(case, load_zoo(case.train), load_zoo(case.test))
    at = rows.test.ids.tolist().index(POINT)
    board = assemble(ROOT / "leaderboard" / "entries", as_of=datetime(2026, 11, 30, 8, 3, 30, tzinfo=UTC))
    entry, (view, *_) = board.rows["md-tree-3"], board.views
    said_of_it = entry.predicted[name]
    *most, last = (f"{100 * share:.1f}" for share in (said_of_it[:5] == rows.test.codes).mean(axis=1))
    score = entry.scores[name]
    (place,) = (place for place in view.places if place.slug == "md-tree-3")
    mean = f"{place.score:.1f} % [{place.interval.low:.1f}, {place.interval.high:.1f}]"
    asked = {case: board.exam.posed[case].rows.test for case in entry.predicted}
    wrong = {
        case: (entry.predicted[case] != test.codes)[:, test.ids == POINT].sum()
        for case, test in asked.items()
        if POINT in test.ids
    }
    assert rows.test.codes[at] == 0
    assert wrong.pop(name) == 0
    assert (len(wrong), min(wrong.values()), sum(wrong.values())) == (5, 1, 56)
    assert sum(len(entry.predicted[case]) for case in wrong) == 65
    assert {len(sample) for sample in rows.samples} == {120}
    assert [event.number for event in entry.history] == [111, 112]
    for said in (
        f"{len(rows.train)} rows without label noise",
        f"{len(rows.test)} rows with label noise to diagnose, ours at place {at}",
        f"int8 {said_of_it.shape}",
        f"{', '.join(most)} and {last} % over the first five seeds",
        f"The mean over all 25 is {score.accuracy:.1f} %",
        f"the verdicts' own shares {score.balanced_accuracy:.1f} %",
        f"has {score.score:.1f} %",
        f"is [{score.interval.low:.1f}, {score.interval.high:.1f}]",
        f"{sum(one.size for one in entry.predicted.values()):,} predictions",
        f"poses the {len(board.exam.posed)} cases",
        f"for the {sum(name in one.scores for one in board.rows.values())} entries that answer the case",
        f"Over the {len(view.cases)} cases of the published tasks",
        f"{mean} above chance: a `Place`, number {place.place} of {len(view.places)}",
    ):
        assert said in walk()
