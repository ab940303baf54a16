"""The house as its sources show it: which file imports what, and what of that breaks a rule.

A house is texts by their paths, so that a test can plant what is forbidden among the sources that are there.
"""

import ast
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "mdbench": {"baselines", "zoo_builder", "leaderboard", "torch"},
    "baselines": {"zoo_builder", "leaderboard", "torch"},
    "zoo_builder": {"baselines", "leaderboard"},
    "leaderboard": {"zoo_builder", "baselines", "torch"},
}
#: Rooms of a package from the ground up. A file that is in none of them is its own room: below all of them, or above.
ROOMS = {
    "mdbench": ("tables", "sources", "cases", "methods", "scoring", "showing", "diagnosing"),
    "zoo_builder": ("specification", "training", "landscape", "building", "examining", "reporting", "publishing"),
    "leaderboard": ("entry", "sealing", "submitting", "verifying", "ranking", "site"),
}
BELOW = {
    "mdbench": {"errors", "paths", "files", "revision", "version", "extras", "hub"},
    "zoo_builder": set(),
    "leaderboard": {"paths"},
}
ABOVE = {
    "mdbench": {"plugins", "cli", "testing", "__main__", "tasks", "schema", "splits", "zoo", ""},
    "zoo_builder": {"report", "cli", "diagnose", "models", ""},
    "leaderboard": {"cli", ""},
}
#: Paths that were documented before there were rooms. Method files import them, and so the baselines, which are method files.
OLD = {"mdbench.tasks", "mdbench.schema", "mdbench.splits", "mdbench.zoo", "zoo_builder.models"}
#: What packages are documented to have, for people: what ``import *`` brings.
PUBLIC = {
    "mdbench": {
        *("Case", "MdbenchError", "Result", "Task", "Zoo"),
        *("compare", "dataset_path", "diagnose", "evaluate", "explain", "load_cases", "load_result", "load_zoo"),
        *("plot", "prescribe", "tabulate"),
    },
    "mdbench.testing": {"CHECKS", "Checked", "assert_conforms", "check_method"},
    "zoo_builder": {"load_checkpoint"},
    "zoo_builder.landscape": {"Data", "Interrupted", "Measurements", "Settings", "measure"},
}
#: Imported by nobody: what is run by its name, in the sandbox, and what `benchmarks/hessian.py` measures.
APART = {"mdbench.methods.inside", "zoo_builder.landscape.product"}
ENTRIES = ROOT / "leaderboard" / "entries"  # what others wrote


def read(root=ROOT):
    """Return the sources of the packages and their stubs, path → text."""
    files = (file for package in FORBIDDEN for file in sorted((root / package).rglob("*.py*")))
    return {
        file.relative_to(root).as_posix(): file.read_text(encoding="utf-8")
        for file in files
        if file.suffix in {".py", ".pyi"} and ENTRIES not in file.parents
    }


def entry_points():
    """Return the modules that the installed packages are entered by."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tables = (project["scripts"], *project["entry-points"].values())
    return {value.partition(":")[0] for table in tables for value in table.values()}


def module_of(path):
    return path.rpartition(".")[0].replace("/", ".").removesuffix(".__init__")


def room_of(module):
    """The package and the room of a module; of a file in no room, its own name."""
    package, _, rest = module.partition(".")
    return package, rest.partition(".")[0]


def inside(module, package):
    return f"{module}.".startswith(f"{package}.")


class Read(NamedTuple):
    """What one file imports.

    Attributes
    ----------
    names : (from where, name); (module, "") of plain imports, and of those that call ``import_module``.
    attributes : (a name, or what was imported under it; attribute; attribute of this; …).
    relative : whether a path begins with a dot.
    """

    names: set[tuple[str, str]]
    attributes: set[tuple[str, ...]]
    relative: bool


@cache
def imports(path, text):
    """Return what one file imports, wherever it does so: in functions and under conditions too."""
    package = module_of(path) if "/__init__.py" in path else module_of(path).rpartition(".")[0]
    nodes = list(ast.walk(ast.parse(text)))
    names, bound, written = [], {}, []
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                names.append((alias.name, ""))
                first = alias.name.partition(".")[0]
                bound[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            written.append("." * node.level + (node.module or ""))
            origin = resolve_name(written[-1], package)
            for alias in node.names:
                names.append((origin, alias.name))
                bound[alias.asname or alias.name] = f"{origin}.{alias.name}"
    for node in nodes:
        if isinstance(node, ast.Call) and _chain(node.func, bound)[-1].endswith(("import_module", "__import__")):
            given = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "name")]
            called = [one.value for one in given if isinstance(one, ast.Constant)]
            names += [(resolve_name(name, package), "") for name in called]
            written += called
    attributes = {_chain(node, bound) for node in nodes if isinstance(node, ast.Attribute)}
    return Read(set(names), attributes, any(name.startswith(".") for name in written))


def _chain(node, bound):
    """Return ``a.b.c`` as (what `a` was imported as, "b", "c"); of what does not begin with a name, the first is empty."""
    if isinstance(node, ast.Attribute):
        return (*_chain(node.value, bound), node.attr)
    return (bound.get(node.id, node.id),) if isinstance(node, ast.Name) else ("",)


class House:
    """Modules, and the arrows between them.

    Attributes
    ----------
    modules : module → the paths of its file and of the stub beside it.
    faces : rooms, and rooms within rooms: packages in a package.
    names : module → what it imports, as in `Read`.
    taken : module → what it takes: names, and attributes of modules that it has imported.
    arrows : module → the modules that these are, or are in.
    """

    def __init__(self, sources):
        self.sources = sources
        self.modules = {
            module_of(path): [file for file in (path, f"{path}i") if file in sources]
            for path in sources
            if path.endswith(".py")
        }
        self.faces = [
            module for module, (path, *_) in self.modules.items() if path.count("/") > 1 and "/__init__" in path
        ]
        self.names = {module: self._names(paths) for module, paths in self.modules.items()}
        self.taken = {module: self.names[module] | self._attributes(paths) for module, paths in self.modules.items()}
        self.arrows = {
            module: {self._module(*one) for one in taken} & self.modules.keys() - {module}
            for module, taken in self.taken.items()
        }

    def _names(self, paths):
        return {one for path in paths for one in imports(path, self.sources[path]).names}

    def _attributes(self, paths):
        chains = (one for path in paths for one in imports(path, self.sources[path]).attributes)
        places = ((".".join(chain[:at]), chain[at]) for chain in chains for at in range(1, len(chain)))
        return {(origin, name) for origin, name in places if origin in self.modules}

    def _module(self, origin, name):
        return f"{origin}.{name}" if f"{origin}.{name}" in self.modules else origin

    def faults(self):
        """Return every breach of a rule, as a sentence."""
        rules = (
            _forbidden,
            _upwards,
            _past_a_face,
            _by_an_old_path,
            _relative,
            _in_a_circle,
            _says_too_little,
            _not_handed_on,
            _handed_on_for_nobody,
            _in_a_modules_place,
            _dead,
        )
        return sorted(fault for rule in rules for fault in rule(self))


def _forbidden(house):
    for module, names in house.names.items():
        for package in {origin.partition(".")[0] for origin, _ in names} & FORBIDDEN[room_of(module)[0]]:
            yield f"{module} imports {package}"


def _floor(package, room):
    """Return the floor of a room, or None of a file that has no place in the house."""
    if room in ROOMS[package]:
        return 1 + ROOMS[package].index(room)
    if room in BELOW[package] | ABOVE[package]:
        return 0 if room in BELOW[package] else 1 + len(ROOMS[package])
    return None


def _upwards(house):
    for module, arrows in house.arrows.items():
        package, room = room_of(module)
        if package not in ROOMS:
            continue
        if _floor(package, room) is None:
            yield f"{module} has no place in the house: say which in {Path(__file__).name}"
            continue
        for at, there in map(room_of, arrows):
            if at != package or there == room or _floor(package, there) is None:
                continue
            level = _floor(package, there) - _floor(package, room)
            if level > 0 or (level == 0 and {room, there} & set(ROOMS[package])):
                yield f"{module} → {there} runs back up"


def _past_a_face(house):
    for module in house.modules.keys() - OLD:
        for origin in {origin for origin, _ in house.names[module]}:
            behind = [face for face in house.faces if inside(origin, face) and not inside(module, face)]
            if behind and min(behind) != origin:
                yield f"{module} imports {origin} past the face of its room"


def _by_an_old_path(house):
    for module, arrows in house.arrows.items():
        if room_of(module)[0] != "baselines":
            yield from (f"{module} imports {to}, an old path" for to in arrows & OLD)


def _relative(house):
    for path, text in house.sources.items():
        if path.endswith(".py") and imports(path, text).relative:
            yield f"{path} imports by a relative path"


def _in_a_circle(house):
    try:
        TopologicalSorter(house.arrows).prepare()
    except CycleError as error:
        yield f"a circle: {' ← '.join(error.args[1])}"


def _says_too_little(house):
    for face in house.faces:
        said = ast.get_docstring(ast.parse(house.sources[house.modules[face][0]])) or ""
        if len(said.split()) <= 10:
            yield f"{face} says too little of what comes in and what goes out"


def handed_on(house, face):
    return {name for origin, name in house.names[face] if inside(origin, face)}


def taken(house, face):
    """Return what is taken from a room: (who takes it, name)."""
    names = ((module, *name) for module, names in house.taken.items() if not inside(module, face) for name in names)
    return {(module, name) for module, origin, name in names if origin == face and name}


def _not_handed_on(house):
    for face in house.faces:
        for module, name in taken(house, face):
            if name not in handed_on(house, face):
                yield f"{module} takes {name} from {face}, which does not hand it on"


def _handed_on_for_nobody(house):
    for face in house.faces:
        names = {name for _, name in taken(house, face)} | PUBLIC.get(face, set())
        yield from (f"{face} hands on {name}, which nobody takes" for name in handed_on(house, face) - names)


def _in_a_modules_place(house):
    """Whoever imports the module of this name puts it in the place of what was handed on."""
    for package in (*ROOMS, *house.faces):
        for origin, name in house.names.get(package, ()):
            if origin != package and f"{package}.{name}" in house.modules:
                yield f"{package} hands on {name}, which is the name of a module in it"


def _dead(house):
    alive = {*entry_points(), *OLD, *PUBLIC, *APART} & house.modules.keys()
    alive |= {module for module in house.modules if room_of(module)[0] == "baselines"}
    new = set(alive)
    while new:
        reached = {to for module in new for to in house.arrows[module]}
        reached |= {
            ".".join(parts[:n]) for parts in (module.split(".") for module in new) for n in range(1, len(parts))
        }
        new = reached - alive
        alive |= new
    yield from (f"nobody imports {module}" for module in house.modules.keys() - alive)
