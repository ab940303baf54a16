"""Zoos: what a table must be, the round trip, and files that were tampered with."""

import hashlib
import json
import os
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy

from mdbench import files
from mdbench.errors import MdbenchError
from mdbench.paths import zoo_home
from mdbench.sources.modeldiagnosis import MOVES
from mdbench.tables.loading import find_zoo, load_zoo
from mdbench.tables.manifest import CHECKPOINTS, CONFIGURATIONS, MANIFEST, Provenance, sha256_of
from mdbench.tables.schema import COLUMNS, Family, check_visible, of_family
from mdbench.tables.zoo import Zoo, arrow_tables, write_tables

PROVENANCE = Provenance(source="here", license="MIT", made_by="the tests")


def make(table: pd.DataFrame) -> Zoo:
    return Zoo.from_table("z", "a zoo", table, MOVES, PROVENANCE)


def test_a_zoo_comes_back_as_it_was_saved(tmp_path):
    one = toy.zoo()
    one.save(tmp_path / "zoo")
    back = load_zoo(tmp_path / "zoo")
    pd.testing.assert_frame_equal(back.configurations, one.configurations, check_dtype=False)
    assert (back.name, back.title, back.moves, back.provenance) == (one.name, one.title, one.moves, one.provenance)
    assert back.digest == one.digest


def test_a_zoo_is_in_one_piece_whatever_its_table_was_made_of():
    table = toy.table()
    names = [name for name in of_family(Family.LANDSCAPE) if name not in table][:120]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            table.insert(len(table.columns), name, 1.0)
    zoo = make(table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pandas warns where what it is given lies in a hundred pieces
        tables = arrow_tables(zoo)
    assert set(names) <= set(tables[CONFIGURATIONS].column_names)


def test_saving_again_replaces_and_leaves_nothing_beside(tmp_path):
    toy.zoo(seed=0).save(tmp_path / "zoo")
    toy.zoo(seed=1).save(tmp_path / "zoo")
    assert load_zoo(tmp_path / "zoo").digest == toy.zoo(seed=1).digest
    assert [path.name for path in tmp_path.iterdir()] == ["zoo"]
    assert sorted(path.name for path in (tmp_path / "zoo").iterdir()) == [CONFIGURATIONS, MANIFEST]


def test_a_save_that_fails_leaves_the_old_zoo(tmp_path, monkeypatch):
    toy.zoo(seed=0).save(tmp_path / "zoo")
    monkeypatch.setattr(
        "pyarrow.parquet.write_table", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(MdbenchError, match="No space left on device"):
        toy.zoo(seed=1).save(tmp_path / "zoo")
    assert load_zoo(tmp_path / "zoo").digest == toy.zoo(seed=0).digest
    assert [path.name for path in tmp_path.iterdir()] == ["zoo"]


@pytest.mark.parametrize("failing", ["stale", "fresh"])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_save_that_fails_between_its_renames_leaves_a_zoo(tmp_path, monkeypatch, failing, done, error):
    """What renames the old zoo away, or the new one to its place, fails or is interrupted, before or after it is done."""
    old, new = toy.zoo(seed=0), toy.zoo(seed=1)
    old.save(tmp_path / "zoo")
    real = Path.rename

    def rename(path, target):
        fails = failing in (path.name, Path(target).name) and path.name != "stale"  # that is the way back
        if done or not fails:
            real(path, target)
        if fails:
            raise error

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", rename)
        broken.setattr(
            files, "_swap", lambda one, other: False
        )  # a system on which folders cannot exchange their names
        with pytest.raises((MdbenchError, KeyboardInterrupt)):
            new.save(tmp_path / "zoo")
    arrived = failing == "fresh" and done
    assert load_zoo(tmp_path / "zoo").digest == (new if arrived else old).digest
    assert [path.name for path in tmp_path.iterdir()] == ["zoo"]


@pytest.mark.skipif(sys.platform != "linux", reason="folders exchange their names on Linux")
def test_folders_exchange_their_names_at_one_instant(tmp_path, monkeypatch):
    """No call renames the old folder away: at no instant is there none."""
    for name in ("fresh", "home"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "said").write_text(name)
    monkeypatch.setattr(Path, "rename", lambda *_: pytest.fail("it was renamed away"))
    files.exchange(tmp_path / "fresh", tmp_path / "home", tmp_path / "stale")
    assert {name: (tmp_path / name / "said").read_text() for name in ("fresh", "home")} == {
        "fresh": "home",
        "home": "fresh",
    }
    with pytest.raises(OSError, match="No such file"):
        files._swap(tmp_path / "nothing", tmp_path / "home")
    assert (tmp_path / "home" / "said").read_text() == "fresh"


def test_a_save_does_not_run_over_something_else(tmp_path):
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "thesis.tex").write_text("")
    with pytest.raises(MdbenchError, match="exists and is not a zoo"):
        toy.zoo().save(tmp_path / "zoo")


def test_a_save_does_not_lose_the_networks_beside_the_tables(tmp_path):
    toy.zoo().save(tmp_path / "zoo")
    (tmp_path / "zoo" / "shards").mkdir()
    with pytest.raises(MdbenchError, match=r"more than a zoo's tables \(shards\)"):
        toy.zoo().save(tmp_path / "zoo")


def test_labels_are_computed_whatever_the_table_says():
    honest = make(toy.table())
    lied_to = make(toy.table().assign(optimizer="temperature_too_low", rfi_width=99.0))
    pd.testing.assert_frame_equal(lied_to.configurations, honest.configurations)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="test_error"), "column 'test_error' is missing"),
        (lambda t: t.drop(columns="width"), "column 'width' is missing"),
        (lambda t: t.assign(magic=1), "column 'magic' is not one of"),
        (lambda t: t.assign(train_loss="low"), "column 'train_loss' is not numeric"),
        (lambda t: t.assign(width=[np.nan, *t["width"][1:]]), "row 1: knob 'width' has no finite value"),
        (
            lambda t: pd.concat([t, t[:1]]),
            r"grid point \(width 2, batch_size 16, data_fraction 10\) stands there 2 times",
        ),
        (lambda t: t[:0], "no rows"),
        (lambda t: t.assign(configuration="same"), "must name every row, each differently"),
    ],
)
def test_a_table_that_is_no_zoo_says_why(change, message):
    with pytest.raises(MdbenchError, match=message):
        make(change(toy.table()))


def test_a_test_error_that_was_not_measured_is_no_error():
    table = toy.table()
    table.loc[0, "test_error"] = np.nan
    one = make(table).configurations.iloc[0]
    assert one["optimizer"] is None
    assert np.isnan(one["rfi_width"])


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda folder: (folder / CONFIGURATIONS).write_bytes(b"PAR1"), "SHA-256 differs"),
        (lambda folder: (folder / CONFIGURATIONS).unlink(), "cannot be read"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "cannot be read"),
        (lambda folder: _edit(folder, sha256="0" * 64), "SHA-256 differs"),
        (lambda folder: _edit(folder, format=99), "format 99 is newer"),
        (lambda folder: _edit(folder, moves=[{"name": "width", "knob": "width", "step": "sideways"}]), "moves.0.step"),
    ],
)
def test_a_tampered_zoo_is_refused(tmp_path, tamper, message):
    toy.zoo().save(tmp_path / "zoo")
    tamper(tmp_path / "zoo")
    with pytest.raises(MdbenchError, match=message):
        load_zoo(tmp_path / "zoo")


def _edit(folder, **changes) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_parquet_file_that_is_garbage_but_well_signed_is_refused(tmp_path):
    toy.zoo().save(tmp_path / "zoo")
    garbage = b"PAR1" + bytes(200) + b"PAR1"
    (tmp_path / "zoo" / CONFIGURATIONS).write_bytes(garbage)
    _edit(tmp_path / "zoo", sha256=hashlib.sha256(garbage).hexdigest())
    with pytest.raises(MdbenchError, match="cannot be read"):
        load_zoo(tmp_path / "zoo")


def test_a_zoo_that_is_not_there_says_how_to_get_it(home):
    with pytest.raises(MdbenchError, match="mdbench import modeldiagnosis PATH"):
        load_zoo("cifar10-resnet18")
    toy.zoo("other").save(zoo_home() / "other")
    with pytest.raises(MdbenchError, match=r"on this machine there are: .*other"):
        load_zoo("nothing")


def test_digest_sees_every_value_and_every_name():
    one = toy.zoo()
    assert toy.zoo().digest == one.digest
    table = toy.table()
    table.loc[5, "output_cka"] += 1e-12
    assert make(table).digest != make(toy.table()).digest
    assert toy.zoo("other name").digest != one.digest


def test_every_column_of_a_zoo_is_in_the_schema():
    zoo = toy.own_zoo()
    assert {"configuration", "checkpoint", *zoo.configurations, *zoo.checkpoints} <= set(COLUMNS)
    assert all(column.meaning for column in COLUMNS.values())


def test_what_was_turned_and_how_the_run_went_is_hidden():
    """Epochs and steps say what the batch size was, the seed which networks belong together."""
    hidden = set(of_family(Family.ID, Family.KNOB))
    assert hidden >= {"seed", "seeds", "steps", "epochs", "diverged", "diverged_seeds", "label_noise", "learning_rate"}


@pytest.mark.parametrize("family", [Family.ID, Family.KNOB, Family.RFI, Family.LABEL])
def test_no_method_sees_a_label_or_what_leads_to_it(family):
    for column in of_family(family):
        with pytest.raises(MdbenchError, match="forbidden"):
            check_visible([column])


def test_a_transductive_method_sees_nothing_that_reveals_labels():
    check_visible(["test_error", "generalization_gap", "test_loss"])
    check_visible(["train_loss"], transductive=True)
    for column in ("test_error", "generalization_gap", "test_error_std", "generalization_gap_std"):
        with pytest.raises(MdbenchError, match="gives their labels away"):
            check_visible([column], transductive=True)


# --- networks -------------------------------------------------------------------------------------------------------


def make_own(change=lambda configurations, networks: networks) -> Zoo:
    configurations, networks = toy.networks()
    return Zoo.from_table("own", "", configurations, MOVES, PROVENANCE, change(configurations, networks))


def test_a_zoo_with_its_networks_comes_back(tmp_path):
    one = toy.own_zoo()
    one.save(tmp_path / "zoo")
    back = load_zoo(tmp_path / "zoo")
    pd.testing.assert_frame_equal(back.configurations, one.configurations, check_dtype=False)
    pd.testing.assert_frame_equal(back.checkpoints, one.checkpoints, check_dtype=False)
    assert back.digest == one.digest


def test_the_networks_give_the_labels_their_standard_errors():
    zoo = make_own()
    errors = zoo.checkpoints.pivot(index="configuration", columns="seed", values="test_error")
    table = zoo.configurations
    # Widening from the narrowest model, on clean labels, at the largest batch and all the data: the widest is best.
    line = table[(table["label_noise"] == 0) & (table["batch_size"] == 1024) & (table["data_fraction"] == 100)]
    start, best = line["width"].idxmin(), line["test_error"].idxmin()
    gained = errors.loc[start] - errors.loc[best]
    assert table.at[start, "rfi_width"] == pytest.approx(gained.mean())
    assert table.at[start, "rfi_width_se"] == pytest.approx(gained.std() / np.sqrt(3))
    plain = Zoo.from_table("own", "", toy.networks()[0], MOVES, PROVENANCE)
    assert [c for c in table if c not in plain.configurations] == [
        *(f"rfi_{move}_se" for move in ("temperature_up", "temperature_down", "width", "data")),
        *(f"{task}_margin_se" for task in ("optimizer", "width_vs_optimizer", "data_vs_optimizer", "failure_source")),
    ]
    pd.testing.assert_frame_equal(table[list(plain.configurations)], plain.configurations)
    assert plain.checkpoints is None


def put(column, value):
    def change(_, networks):
        networks = networks.astype({column: object}) if isinstance(value, str) else networks.copy()
        networks.loc[5, column] = value
        return networks

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _, n: n.drop(columns="seed"), "checkpoints: column 'seed' is missing"),
        (lambda _, n: n.assign(seed=0.5), "'seed' must be whole numbers"),
        (lambda _, n: n.assign(magic=1), "column 'magic' is not one of"),
        (lambda _, n: n[:0], "checkpoints: the table has no rows"),
        (put("train_loss", "low"), "column 'train_loss' is not numeric"),
        (put("checkpoint", "point-0/seed-0"), "'checkpoint' must name every row, each differently"),
        (
            put("configuration", "nowhere"),
            "'point-1/seed-2' is of configuration 'nowhere', which the zoo does not have",
        ),
        (put("seed", 1), "'point-1/seed-2' has the configuration and the seed of another network"),
        (put("width", 3.0), "knob 'width' of 'point-1/seed-2' is not that of its configuration"),
        (put("test_error", 1.0), "configuration 'point-1' have the mean .*, but its own test_error is"),
        (put("test_error", np.nan), "configuration 'point-1' have the mean"),
        (lambda _, n: n[n["configuration"] != "point-1"], "configuration 'point-1' have the mean nan"),
    ],
)
def test_networks_that_do_not_fit_their_zoo_are_refused(change, message):
    with pytest.raises(MdbenchError, match=message):
        make_own(change)


def test_a_mean_may_be_off_by_what_rounding_does():
    configurations, networks = toy.networks()
    configurations["test_error"] *= 1 + 1e-12
    assert Zoo.from_table("own", "", configurations, MOVES, PROVENANCE, networks).checkpoints is not None
    configurations["test_error"] *= 1 + 1e-6
    with pytest.raises(MdbenchError, match="have the mean"):
        Zoo.from_table("own", "", configurations, MOVES, PROVENANCE, networks)


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "SHA-256 differs"),
        (lambda path: path.unlink(), "checkpoints.parquet cannot be read"),
    ],
)
def test_damaged_networks_are_refused(tmp_path, tamper, message):
    toy.own_zoo().save(tmp_path / "zoo")
    tamper(tmp_path / "zoo" / CHECKPOINTS)
    with pytest.raises(MdbenchError, match=message):
        load_zoo(tmp_path / "zoo")


def test_a_manifest_from_before_there_were_networks_stays_readable(tmp_path):
    toy.zoo().save(tmp_path / "zoo")
    path = tmp_path / "zoo" / MANIFEST
    old = json.loads(path.read_text())
    del old["checkpoints_sha256"]
    path.write_text(json.dumps(old))
    assert load_zoo(tmp_path / "zoo").digest == toy.zoo().digest


def test_a_name_of_several_zoos_is_refused_and_a_case_means_the_packages(tmp_path, monkeypatch):
    bundled, here = tmp_path / "package", tmp_path / "here"
    monkeypatch.setattr("mdbench.tables.loading.bundled_zoos", lambda: bundled)
    here.mkdir()
    monkeypatch.chdir(here)
    toy.zoo("same").save(bundled / "same")
    assert find_zoo("same") == find_zoo("same", of_case=True) == bundled / "same"
    for other in (zoo_home() / "same", here / "same"):
        toy.zoo("same", seed=1).save(other)
        with pytest.raises(MdbenchError, match=r"'same' is in several places: .* give the folder") as refused:
            load_zoo("same")
        assert str(other) in str(refused.value)
        assert str(bundled / "same") in str(refused.value)
        assert find_zoo("same", of_case=True) == bundled / "same"
        assert load_zoo(other).digest == toy.zoo("same", seed=1).digest
        shutil.rmtree(other)
    monkeypatch.chdir(bundled)
    assert load_zoo("same").digest == toy.zoo("same").digest  # the same place twice


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pa.table({"test_error": pa.array([[1.0]])}), "not numbers and texts"),
        (pa.table({"magic": pa.array([1.0])}), "column 'magic' is not one of"),
        (pa.table({"test_error": pa.array([1.0, 2.0])}), "has 2 rows, but zoo.json says 1"),
        (pa.table({"test_error": pa.array(np.zeros(1000))}), "more than any zoo has"),
    ],
)
def test_a_table_is_judged_by_what_it_says_of_itself_before_it_is_read(tmp_path, monkeypatch, content, message):
    folder = tmp_path / "zoo"
    toy.zoo().save(folder)
    pq.write_table(content, folder / CONFIGURATIONS)
    rows = 1000 if content.num_rows == 1000 else 1
    _edit(folder, sha256=sha256_of(folder / CONFIGURATIONS), rows=rows)
    monkeypatch.setattr("mdbench.tables.loading._LARGEST", 7999)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_: pytest.fail("it is read"))
    with pytest.raises(MdbenchError, match=message):
        load_zoo(folder)


# --- tables in a folder that holds other things ---------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_tables_are_written_beside_what_is_there_and_byte_for_byte_the_same(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.safetensors").write_text("a network")
    for folder in ("a", "b"):
        write_tables(toy.own_zoo(), tmp_path / folder)
        write_tables(toy.own_zoo(), tmp_path / folder)
    toy.own_zoo().save(tmp_path / "c")
    found = contents(tmp_path / "a")
    assert found.pop("0.safetensors") == b"a network"
    assert found == contents(tmp_path / "b") == contents(tmp_path / "c")
    assert sorted(found) == [CHECKPOINTS, CONFIGURATIONS, MANIFEST]


def test_networks_of_the_zoo_before_do_not_stay(tmp_path):
    write_tables(toy.own_zoo(), tmp_path)
    write_tables(toy.zoo(), tmp_path)
    assert sorted(contents(tmp_path)) == [CONFIGURATIONS, MANIFEST]
    assert load_zoo(tmp_path).checkpoints is None


@pytest.mark.parametrize("call", ["fsync", "replace", "unlink"])
@pytest.mark.parametrize("survived", range(5))
def test_writing_that_is_interrupted_leaves_a_zoo_or_an_error(tmp_path, monkeypatch, call, survived):
    """The same function fails for ever after it has been called `survived` times, as on a disk that was pulled."""
    old, new = toy.own_zoo("old"), toy.own_zoo("new", label_noise=(0, 40))
    write_tables(old, tmp_path)
    before = contents(tmp_path)
    calls = []

    def failing(real):
        def fail(*arguments, **options):
            calls.append(arguments)
            if len(calls) > survived:
                raise OSError(5, "Input/output error")
            return real(*arguments, **options)

        return fail

    with monkeypatch.context() as broken:
        broken.setattr(f"os.{call}", failing(getattr(os, call)))
        try:
            write_tables(new, tmp_path)
        except MdbenchError as error:
            assert "cannot write the zoo to" in str(error)  # noqa: PT017 - it need not fail
            finished = False
        else:
            finished = True
    try:
        found = load_zoo(tmp_path)
    except MdbenchError as error:
        assert not finished
        assert "SHA-256 differs" in str(error)  # noqa: PT017
    else:
        assert found.digest == new.digest or not finished
        if found.digest == old.digest:
            assert {name: content for name, content in contents(tmp_path).items() if name in before} == before
        else:
            assert found.digest == new.digest  # only the folder's own entry did not get to the disk
    write_tables(new, tmp_path)
    assert load_zoo(tmp_path).digest == new.digest


def test_a_zoo_without_its_layers_says_the_same_of_everything_else():
    whole, without = load_zoo("mnist1d-mlp"), load_zoo("mnist1d-mlp", layers=False)
    assert whole.layers is not None
    assert without.layers is None
    assert without.digest == whole.digest
    pd.testing.assert_frame_equal(without.checkpoints, whole.checkpoints)
