"""Compiled loops are kept from process to process, and never run as they were before one of their files changed."""

import io
import os
import runpy
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from numba import config, njit
from numba.core import caching
from numba.np import linalg

from mdbench.errors import MdbenchError
from zoo_builder.training import kernels
from zoo_builder.training.kernels import apart, cache, internals
from zoo_builder.training.kernels.compilation import compiled

ROOT = Path(__file__).resolve().parent.parent

#: Means of two examples over three positions, by a loop that calls those of other files; and whether it was there already.
MEANS = """
import numpy as np
from zoo_builder.training import kernels
from zoo_builder.training.kernels.mean import forward

values = np.zeros(2, kernels.VALUE)
values["at"], values["width"], values["channels"], values["height"] = [0, 3], [3, 1], 1, 1
arena = np.array([1, -2, 4, 0.5, 1, 3, 0, 0])
forward(*values, arena, 2)
print(*arena[6:], bool(forward.stats.cache_hits))
"""


#: The smallest of all loops: where it is kept, and whether it was there already.
STRIP = """
from zoo_builder.training import kernels

assert kernels.strip(64) == 32
print(kernels.strip.stats.cache_path, bool(kernels.strip.stats.cache_hits))
"""


@pytest.fixture
def copy(tmp_path):
    """A copy of the packages, whose files can be edited."""
    for package in ("mdbench", "zoo_builder"):
        unwanted = shutil.ignore_patterns("__pycache__", "data")
        shutil.copytree(ROOT / package, tmp_path / "copy" / package, ignore=unwanted)
    return tmp_path / "copy"


def start(script, copy, **environment):
    # Bytecode of its own would be Python's second opinion on which files changed.
    own = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_OPT": "1", **environment}
    return subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, **own}, cwd=copy, stdout=subprocess.PIPE, text=True
    )


def answer(process):
    said, _ = process.communicate()
    assert process.returncode == 0
    return said.split()


def test_a_callee_in_another_file_that_changed_runs_as_it_is_now(copy, tmp_path):
    callee = copy / "zoo_builder" / "training" / "kernels" / "rows.py"
    before = callee.read_text()
    after = before.replace("out[j] += slope[j] * part", "out[j] -= slope[j] * part")
    assert after != before
    place = tmp_path / "kept"
    for text, sign, compiles in ((before, 1, True), (after, -1, True), (before, 1, False)):
        there = set(place.rglob("*.nbc"))
        callee.write_text(text)
        *means, hit = answer(start(MEANS, copy, NUMBA_CACHE_DIR=str(place)))
        assert list(map(float, means)) == pytest.approx([2 * sign, 0.5 * sign], rel=1e-12)
        assert hit == "True"  # another process has compiled it
        assert bool(set(place.rglob("*.nbc")) - there) == compiles


def test_a_package_that_cannot_be_written_keeps_its_loops_with_the_user(copy, tmp_path):
    """Several processes at once come to the same place, and whoever comes later finds their loops there."""
    home = tmp_path / "home"
    home.mkdir()
    # What stands where a folder would have to be keeps even an administrator out.
    (copy / "zoo_builder" / "training" / "kernels" / "__pycache__").write_text("")
    where = {"HOME": str(home), "XDG_CACHE_HOME": str(home), "LOCALAPPDATA": str(home), "NUMBA_CACHE_DIR": ""}
    together = [start(STRIP, copy, **where) for _ in range(3)]
    places = {answer(process)[0] for process in together}
    place, hit = answer(start(STRIP, copy, **where))
    assert places == {place}
    assert home in Path(place).parents
    assert hit == "True"


#: A network with layer normalization and GELU learns; a digest of its parameters, and whether all loops were there already.
TRAIN = """
from hashlib import sha256

from zoo_builder.specification.material import Material
from zoo_builder.specification.network import networks
from zoo_builder.specification.spec import parse_spec
from zoo_builder.training import kernels
from zoo_builder.training.taped import train

spec = parse_spec('''
name = "bits"
[dataset]
name = "digits"
train = 200
[architecture]
name = "mlp"
width = 8
options = { norm = "layer", activation = "gelu" }
[training]
optimizer = "adamw"
steps = 20
[[axes]]
knob = "learning_rate"
values = [0.01]
''', "here")
material = Material.of_spec(spec)
(trained,) = train(spec, *material.first, list(networks(spec, material)))
print(sha256(b"".join(value.numpy().tobytes() for value in trained.state.values())).hexdigest(), trained.test_loss)
found = [loop.stats for loop in (kernels.train, kernels.logits, kernels.evaluate)]
print(all(one.cache_hits and not one.cache_misses for one in found))
"""


def test_what_was_just_compiled_computes_the_bits_of_what_was_there(copy):
    """In the process that compiles it, code would be another than the one that is kept; so none runs there."""
    there = answer(start(TRAIN, ROOT, NUMBA_OPT="3"))
    kept = Path(kernels.train.stats.cache_path)
    again = copy / "zoo_builder" / "training" / "kernels" / "__pycache__" / kept.name
    shutil.copytree(kept, again, ignore=shutil.ignore_patterns("training.train-*"))
    assert answer(start(TRAIN, copy, NUMBA_OPT="3", NUMBA_CACHE_DIR="")) == there
    assert there[-1] == "True"
    assert list(again.glob("training.train-*.nbc"))  # it was compiled


def test_who_waits_for_a_compiler_and_ends_takes_it_along(tmp_path):
    waiting = subprocess.Popen(
        [sys.executable, "-c", MEANS],
        env={**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path)},
        start_new_session=True,
    )
    own = Path(f"/proc/{waiting.pid}/task/{waiting.pid}/children")
    compilers = []
    for _ in range(600):
        compilers = own.read_text().split()
        if compilers:
            break
        time.sleep(0.1)
    assert compilers
    waiting.kill()
    waiting.wait()
    for _ in range(600):
        if not any(Path(f"/proc/{one}").exists() for one in compilers):
            return
        time.sleep(0.1)
    pytest.fail("the compiler goes on")


def doubled(x):
    return x + x


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where `compiled` keeps `doubled`."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))  # what NUMBA_CACHE_DIR sets
    return Path(compiled(doubled).stats.cache_path)


def test_the_loops_have_a_place_of_their_own(place, tmp_path):
    assert tmp_path in place.parents
    assert place.name == Path(kernels.strip.stats.cache_path).name
    assert (
        Path(njit(cache=True)(doubled).stats.cache_path) == place.parent
    )  # other people's functions stay where they were


def test_what_is_kept_for_other_types_is_not_taken(place):
    first = compiled(doubled)
    first(np.ones(1))
    first(np.ones(1, np.int64))
    one, other = sorted(place.glob("*.nbc"))
    # As two processes leave them that began with an empty folder, each with another type.
    texts = one.read_bytes(), other.read_bytes()
    one.write_bytes(texts[1])
    other.write_bytes(texts[0])
    for _ in range(2):  # compiled anew, and put right
        again = compiled(doubled)
        assert again(np.full(1, 1.5)) == 3
        assert again(np.full(1, 3)).dtype == np.int64
    assert sum(again.stats.cache_hits.values()) == 2


def test_what_is_compiled_after_a_change_is_not_kept(place, monkeypatch, tmp_path):
    """Files are imported one by one: what a process compiles then may be of neither state."""
    (tmp_path / "changed.py").write_text("")
    monkeypatch.setattr(cache, "files", lambda package: tmp_path)
    assert compiled(doubled)(1) == 2
    monkeypatch.setattr(cache, "files", lambda package: tmp_path / "gone")
    assert compiled(doubled)(1.5) == 3
    assert not list(place.glob("*"))


def test_folders_do_not_pile_up(place):
    others = [place.with_name(f"loops-{number:016x}") for number in range(12)]
    for age, folder in enumerate([*others, place.with_name("another")]):
        folder.mkdir(parents=True)
        os.utime(folder, (1e9 - age, 1e9 - age))
    assert compiled(doubled)(1) == 2
    assert {path.name for path in place.parent.iterdir()} == {
        place.name,
        "another",
        *(folder.name for folder in others[:7]),
    }


@pytest.mark.parametrize(
    ("owner", "name"), [(linalg, "_BLAS"), (linalg._BLAS, "numba_xxgemm"), (caching.Cache, "_impl_class")]
)
def test_a_numba_that_moved_what_we_use_is_named(monkeypatch, owner, name):
    monkeypatch.delattr(owner, name)
    if owner is caching.Cache:
        monkeypatch.delattr(caching.FunctionCache, name)
    with pytest.raises(MdbenchError, match=rf"Numba \d.*'{name}'.*pip install 'numba>="):
        runpy.run_path(internals.__file__)


#: Networks trained and measured as everywhere, and against plain PyTorch; what was warned of, and why there are no loops.
UNCOMPILED = """
import warnings

import pytest
import torch
from test_training import check, data, spec
from torch.nn.functional import cross_entropy

from mdbench.errors import MdbenchError
from zoo_builder.landscape import measure
from zoo_builder.specification import Material, networks
from zoo_builder.specification.subsets import draw_subsets
from zoo_builder.training import form, kernels

what = spec("mlp", {"learning_rate": [0.01], "batch_size": [12], "width": [4]}, 2)
dataset = data((1, 40))
network = what.architecture.build(dataset.shape, 10, 4, 2, seed=0)
examples = torch.from_numpy(dataset.train_inputs), torch.from_numpy(dataset.train_targets)
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("default")
    check(what, dataset, torch.float64, 1e-9)
    (measured,) = measure(network, "cross_entropy", examples, families=["performance"]).models["train_loss"]
    material = Material.single(what, dataset, draw_subsets(dataset.train_targets, 10, 0))
    print(form(what, dataset, networks(what, material)[0], "cpu"))
assert measured == pytest.approx(cross_entropy(network.eval()(examples[0]), examples[1]).item(), rel=1e-5)
print(*(one.message for one in warned), sep="\\n")
try:
    kernels.strip
except MdbenchError as error:
    print(error)
"""


def test_without_compiling_pytorch_computes_and_says_so():
    process = start(UNCOMPILED, ROOT / "tests", NUMBA_DISABLE_JIT="1", PYTHONPATH=str(ROOT))
    said, _ = process.communicate()
    assert process.returncode == 0
    assert said.splitlines() == [
        "stacked",
        "PyTorch computes instead of compiled loops, which need NUMBA_DISABLE_JIT unset",
        "compiled loops need Numba to compile: unset NUMBA_DISABLE_JIT",
    ]


def test_all_loops_are_compiled_beforehand():
    """`make test` compiles what tests run before they begin: a loop that is not there would be compiled by several at once."""
    import torch  # not above: what compiles functions of this file imports it
    from loops import compile_loops

    compile_loops(torch.float64)
    loops = {name: loop for name in kernels.__all__ if hasattr(loop := getattr(kernels, name), "py_func")}
    assert {"train", "multiply_hessian"} < loops.keys()
    assert not [name for name, loop in loops.items() if not loop.signatures]


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_who_waits_at_a_terminal_is_told_why_once(monkeypatch):
    for stream, anyway, lines in ((_Terminal(), False, 1), (io.StringIO(), False, 0), (io.StringIO(), True, 1)):
        apart._tell.cache_clear()
        monkeypatch.setattr(sys, "stderr", stream)
        with kernels.telling() if anyway else nullcontext():
            apart._tell()
            apart._tell()
        assert stream.getvalue().count("\n") == lines
