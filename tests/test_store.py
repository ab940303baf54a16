"""The store: units that are there whole or not at all, whatever fails on the way."""

import errno
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import tiny_zoo
import torch
from safetensors.torch import load_file
from tiny_zoo import Faults, assert_sound, build_here, contents, everything, failing, tables, write_spec

from mdbench.errors import MdbenchError
from mdbench.tables.loading import load_zoo
from zoo_builder.building.builder import status
from zoo_builder.building.store import Manifest, Store
from zoo_builder.building.units import writing

ROWS = pd.DataFrame({"checkpoint": ["a", "b"], "seconds": [1.0, 2.0]})
TENSORS = {"a/weight": torch.arange(6.0).reshape(2, 3), "b/weight": torch.ones(2, 3)}
MANIFEST = Manifest(spec_sha256="1" * 64, data_sha256="2" * 64, builder="0", device="cpu", units={"unit": 2})
TEXT = "# mine\n"
EXAMPLES = {"order": torch.arange(3)}
FAULTS = (errno.EIO, errno.ENOSPC, errno.EROFS)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """A specification and its finished build, which nobody may change."""
    folder = tmp_path_factory.mktemp("built")
    spec = write_spec(folder)
    build_here(spec, folder / "zoo")
    return spec, folder / "zoo"


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path / "store")
    store.begin(MANIFEST, TEXT, EXAMPLES)
    return store


def units(store: Store) -> list[str]:
    return sorted(path.name for path in (store.folder / "units").iterdir())


def assert_unit(store: Store, key: str = "unit") -> None:
    store.check(key)
    assert store.rows([key])["seconds"].tolist() == [1.0, 2.0]
    found = load_file(store.folder / store.rows([key])["shard"][0])
    assert {name: value.tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in TENSORS.items()
    }


def test_a_unit_is_written_and_read(store):
    assert not store.has("unit")
    assert store.write("unit", ROWS, TENSORS) == store.home("unit")
    assert store.has("unit")
    assert_unit(store)
    assert units(store) == ["unit"]
    assert store.rows([]).empty


def test_a_unit_that_is_there_stays(store):
    store.write("unit", ROWS, TENSORS)
    before = everything(store.folder)
    store.write("unit", ROWS.assign(seconds=9.0), {"a/weight": torch.zeros(1)})
    assert everything(store.folder) == before
    assert units(store) == ["unit"]


def test_what_to_do_is_said_once(tmp_path):
    """However many stand around what fails, and whichever of them knows that the disk is full."""
    with pytest.raises(MdbenchError) as told, writing(tmp_path / "all"), writing(tmp_path / "part"):  # noqa: PT012
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise MdbenchError(f"cannot write {tmp_path / 'file'}: {error.strerror}") from error
    full = "No space left on device; make room, and the same command goes on from there"
    assert str(told.value) == f"cannot write {tmp_path / 'file'}: {full}"


@pytest.mark.parametrize("number", FAULTS, ids=errno.errorcode.get)
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
def test_writing_a_unit_that_fails_anywhere_leaves_it_whole_or_not_there(tmp_path, number, lasting):
    store = Store(tmp_path / "clean")
    store.begin(MANIFEST, TEXT, EXAMPLES)
    with Faults(store.folder, failing(number)).watching() as clean:
        store.write("unit", ROWS, TENSORS)
    for call in ("create", "write", "fsync", "mkdir", "rename", "open"):
        assert call in clean.calls

    left = set()
    for at in range(1, len(clean.calls) + 1):
        store = Store(tmp_path / f"fails-at-{at}")
        store.begin(MANIFEST, TEXT, EXAMPLES)
        store.write("other", ROWS, TENSORS)
        other = contents(store.home("other"))
        with (
            Faults(store.folder, failing(number), at, lasting=lasting).watching(),
            pytest.raises(MdbenchError) as told,
        ):
            store.write("unit", ROWS, TENSORS)
        message = str(told.value)
        assert message.startswith(f"cannot write {store.home('unit')}: {os.strerror(number)}; ")
        assert ("make room, and the same command goes on" in message) == (number == errno.ENOSPC)
        assert units(store) in (["other"], ["other", "unit"])
        left.add(store.has("unit"))
        if store.has("unit"):
            assert_unit(store)
        assert contents(store.home("other")) == other
        store.write("unit", ROWS, TENSORS)
        assert_unit(store)
    assert left == {False, True}  # it has its name before the disk is asked to keep that


@pytest.mark.parametrize("number", FAULTS, ids=errno.errorcode.get)
def test_beginning_that_fails_anywhere_begins_again(tmp_path, number):
    def begin(store: Store) -> None:
        with store.locked():
            store.begin(MANIFEST, TEXT, EXAMPLES)

    begin(Store(tmp_path / "clean"))
    with Faults(tmp_path, failing(number)).watching() as clean:
        begin(Store(tmp_path / "counted"))
    for at in range(1, len(clean.calls) + 1):
        store = Store(tmp_path / f"fails-at-{at}")
        with Faults(tmp_path, failing(number), at).watching(), pytest.raises(MdbenchError, match="cannot write"):
            begin(store)
        begin(store)
        assert contents(store.folder) == contents(tmp_path / "clean")


@contextmanager
def mounted(folder: Path, options: str):
    """A file system of its own in a folder, where we may have one."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here, so that none could be filled up: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_full_is_said_and_nothing_is_lost(tmp_path, built):
    if shutil.which("mount") is None:
        pytest.skip("there is no `mount` here, so that no disk could be filled up")
    spec, whole = built
    size = 256 * 1024
    failures = 0
    for room in range(4096, size, 16384):
        disk = tmp_path / f"disk-{room}"
        with mounted(disk, f"size={size}"):
            (disk / "ballast").write_bytes(bytes(size - room))
            try:
                build_here(spec, disk / "zoo")
            except MdbenchError as error:
                failures += 1
                message = str(error)
            else:
                break
            assert "No space left on device; make room, and the same command goes on" in message
            assert "\n" not in message
            if (disk / "zoo").exists():
                assert_sound(disk / "zoo", finished=False)
            kept = everything(disk / "zoo" / "units")
            (disk / "ballast").unlink()
            build_here(spec, disk / "zoo")
            assert tables(disk / "zoo") == tables(whole)
            assert_sound(disk / "zoo")
            assert everything(disk / "zoo" / "units").items() >= kept.items()
    assert failures >= 3


def test_a_folder_that_only_may_be_read_is_said(tmp_path, built):
    if shutil.which("mount") is None:
        pytest.skip("there is no `mount` here, so that nothing could be mounted to be read only")
    with (
        mounted(tmp_path / "disk", "ro,size=64k"),
        pytest.raises(MdbenchError, match=r"cannot write .*disk/zoo: Read-only file system; is it .* yours to write"),
    ):
        build_here(built[0], tmp_path / "disk" / "zoo")


def test_a_folder_below_a_file_is_said(tmp_path, built):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "zoo"):
        with pytest.raises(MdbenchError, match=rf"cannot write {folder}: .*; is it a folder"):
            build_here(built[0], folder)
    assert (tmp_path / "file").read_text() == "mine"


def test_an_end_that_fails_anywhere_is_gone_on_with(tmp_path, built):
    """The disk is full from some call on, once all networks are trained: each file of the zoo is there whole, or not."""
    spec, whole = built
    ends = (*tiny_zoo.TABLES, "timings.parquet")

    def trained(name: str) -> Path:
        return shutil.copytree(whole, tmp_path / name, ignore=lambda folder, names: set(ends) & set(names))

    with Faults(trained("counted"), failing(errno.ENOSPC)).watching() as clean:
        build_here(spec, tmp_path / "counted")
    assert clean.calls.count("replace") == len(ends)
    assert contents(tmp_path / "counted") == contents(whole)
    folder, there = trained("fails"), set()
    for at in range(1, len(clean.calls) + 1):
        with (
            Faults(folder, failing(errno.ENOSPC), at, lasting=True).watching(),
            pytest.raises(MdbenchError, match="No space left on device; make room, and the same command goes on"),
        ):
            build_here(spec, folder)
        assert contents(folder).items() <= contents(whole).items(), clean.calls[at - 1]
        there.add(sum((folder / name).exists() for name in ends))
    assert there == {0, 1, 2, 3, 4}
    build_here(spec, folder)
    assert contents(folder) == contents(whole)


def test_a_worker_that_cannot_write_ends_the_build(tmp_path):
    """What it says is what the command says, and the units before it are kept."""
    spec, folder = write_spec(tmp_path), tmp_path / "zoo"
    with Faults(tmp_path, failing(errno.ENOSPC)).watching() as clean:
        build_here(spec, tmp_path / "whole")
    third = [at for at, call in enumerate(clean.calls, start=1) if call == "rename"][2]
    with (
        Faults(tmp_path, failing(errno.ENOSPC), third, lasting=True).watching(),
        pytest.raises(
            MdbenchError, match=r"cannot write .*/units/\w+: No space left on device; make room, and the same"
        ),
    ):
        build_here(spec, folder)
    kept = everything(folder / "units")
    assert len({name.split("/")[0] for name in kept}) == 2
    build_here(spec, folder)
    assert tables(folder) == tables(tmp_path / "whole")
    assert everything(folder / "units").items() >= kept.items()
    assert_sound(folder)


DAMAGES = {
    "a byte of the networks": lambda unit: _flip(unit / "checkpoints.safetensors"),
    "a byte of the rows": lambda unit: _flip(unit / "networks.parquet"),
    "no networks": lambda unit: (unit / "checkpoints.safetensors").unlink(),
    "no rows": lambda unit: (unit / "networks.parquet").unlink(),
    "no record": lambda unit: (unit / "unit.json").unlink(),
    "half a record": lambda unit: (unit / "unit.json").write_bytes((unit / "unit.json").read_bytes()[:70]),
    "an empty record": lambda unit: (unit / "unit.json").write_text('{"sha256": {}}'),
    "nothing": lambda unit: [path.unlink() for path in unit.iterdir()],
    "a file": lambda unit: (shutil.rmtree(unit), unit.write_text("")),
}


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("finished", [True, False], ids=["finished", "begun"])
def test_a_damaged_unit_is_named_and_nothing_else_is_lost(tmp_path, built, damage, finished):
    spec, whole = built
    folder = tmp_path / "zoo"
    shutil.copytree(whole, folder)
    first, second = sorted(Store(folder).manifest().units)[1:3]
    if not finished:
        shutil.rmtree(folder / "units" / second)
        for name in tiny_zoo.TABLES:
            (folder / name).unlink()
    home = folder / "units" / first
    damage(home)
    before = everything(folder)
    with pytest.raises(MdbenchError) as told:
        build_here(spec, folder)
    assert str(home) in str(told.value)
    assert f"move {home} away, and the same command trains these networks again" in str(told.value)
    assert "\n" not in str(told.value)
    assert everything(folder) == before

    home.rename(tmp_path / "away")
    build_here(spec, folder)
    assert tables(folder) == tables(whole)
    assert_sound(folder)
    others = {name: kept for name, kept in before.items() if name.startswith("units/") and first not in name}
    assert everything(folder).items() >= others.items()


def test_a_damaged_unit_is_said_by_status_too(tmp_path, built):
    folder = tmp_path / "zoo"
    shutil.copytree(built[1], folder)
    home = next((folder / "units").iterdir())
    (home / "networks.parquet").write_bytes(b"PAR1")
    with pytest.raises(MdbenchError, match=r"networks\.parquet cannot be read"):
        status(folder)
    (home / "networks.parquet").unlink()
    with pytest.raises(MdbenchError, match=r"networks\.parquet cannot be read"):
        status(folder)


def test_the_record_of_a_build_that_is_damaged_can_be_removed(tmp_path, built):
    spec, whole = built
    folder = tmp_path / "zoo"
    shutil.copytree(whole, folder)
    (folder / "build.json").write_text('{"format": 1')
    for use in (lambda: build_here(spec, folder), lambda: status(folder)):
        with pytest.raises(MdbenchError, match=r"build\.json cannot be read: .*; remove it, and the same command"):
            use()
    units = everything(folder / "units")
    (folder / "build.json").unlink()
    build_here(spec, folder)
    assert contents(folder) == contents(whole)
    assert everything(folder / "units") == units


def test_a_newer_format_is_said(tmp_path, built):
    folder = tmp_path / "zoo"
    shutil.copytree(built[1], folder)
    text = (folder / "build.json").read_text()
    (folder / "build.json").write_text(text.replace('"format": 1', '"format": 99'))
    with pytest.raises(MdbenchError, match="format 99 is newer than this builder knows"):
        status(folder)


def test_lost_small_files_are_written_again(tmp_path, built):
    spec, whole = built
    folder = tmp_path / "zoo"
    shutil.copytree(whole, folder)
    for name in ("spec.toml", "examples.safetensors", "zoo.json", "configurations.parquet", "timings.parquet"):
        (folder / name).unlink()
    build_here(spec, folder)
    assert contents(folder) == contents(whole)


@pytest.mark.parametrize("there", ["notes.txt", ".git/config", "zoo.json"])
def test_a_folder_that_holds_other_things_is_left_alone(tmp_path, built, there):
    folder = tmp_path / "mine"
    (folder / there).parent.mkdir(parents=True)
    (folder / there).write_text("mine")
    with pytest.raises(MdbenchError, match=f"{folder} is not empty, and not the folder of a build; give another one"):
        build_here(built[0], folder)
    assert contents(folder) == {there: b"mine"}


def test_a_plain_zoo_is_not_built_into(tmp_path, built):
    spec, whole = built
    load_zoo(whole).save(tmp_path / "plain")
    before = everything(tmp_path / "plain")
    with pytest.raises(MdbenchError, match="not the folder of a build"):
        build_here(spec, tmp_path / "plain")
    assert everything(tmp_path / "plain") == before


def test_what_interrupted_writing_left_behind_is_removed_and_nothing_else(tmp_path, built):
    spec, whole = built
    folder = tmp_path / "zoo"
    shutil.copytree(whole, folder)
    for name in ("units/.unfinished-0-1", "units/.rubbish-0"):
        (folder / name).mkdir()
        (folder / name / "networks.parquet").write_text("half")
    for name in (".zoo.json.17", ".checkpoints.parquet.4711"):
        (folder / name).write_text("half")
    own = (".hidden", ".zoo.json.bak", "notes.txt", "units/notes.txt")
    for name in own:
        (folder / name).write_text("mine")
    build_here(spec, folder)
    expected = contents(whole) | dict.fromkeys(own, b"mine")
    assert contents(folder) == expected
    assert {path.name for path in (folder / "units").iterdir()} == {*Store(whole).manifest().units, "notes.txt"}


def test_a_worker_whose_folder_is_tidied_away_loses_its_unit_whole(store, monkeypatch):
    """A worker on another machine that outlived its build may still be writing when the next build begins."""
    real = Path.rename

    def rename(path, target):
        if Path(target) == store.home("unit"):
            monkeypatch.setattr(Path, "rename", real)
            store.begin(MANIFEST, TEXT, EXAMPLES)
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(MdbenchError, match="cannot write"):
        store.write("unit", ROWS, TENSORS)
    assert units(store) == []
    store.write("unit", ROWS, TENSORS)
    assert_unit(store)


def test_two_workers_may_write_the_same_unit(store, monkeypatch):
    real = Path.rename

    def rename(path, target):
        monkeypatch.setattr(Path, "rename", real)
        store.write("unit", ROWS, TENSORS)  # somebody else is faster
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    store.write("unit", ROWS.assign(seconds=7.0), TENSORS)
    assert_unit(store)
    assert units(store) == ["unit"]


def test_the_folder_is_held_by_one_build(tmp_path, store):
    with store.locked(), pytest.raises(MdbenchError, match=f"another build is at work in {store.folder}; wait for it"):
        Store(store.folder).locked().__enter__()
    with store.locked():
        pass
