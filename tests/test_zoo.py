"""Zoos: what a table must be, the round trip, and files that were tampered with."""

import json

import numpy as np
import pandas as pd
import pytest
import toy

from mdbench.errors import MdbenchError
from mdbench.schema import COLUMNS, Family, check_visible, of_family
from mdbench.sources.modeldiagnosis import MOVES
from mdbench.zoo import CONFIGURATIONS, MANIFEST, Provenance, Zoo, load_zoo, zoo_home

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


def test_saving_again_replaces_and_leaves_nothing_beside(tmp_path):
    toy.zoo(seed=0).save(tmp_path / "zoo")
    toy.zoo(seed=1).save(tmp_path / "zoo")
    assert load_zoo(tmp_path / "zoo").digest == toy.zoo(seed=1).digest
    assert [path.name for path in tmp_path.iterdir()] == ["zoo"]
    assert sorted(path.name for path in (tmp_path / "zoo").iterdir()) == [CONFIGURATIONS, MANIFEST]


def test_a_save_that_fails_leaves_the_old_zoo(tmp_path, monkeypatch):
    toy.zoo(seed=0).save(tmp_path / "zoo")
    monkeypatch.setattr(
        "pyarrow.parquet.write_table", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(MdbenchError, match="No space left on device"):
        toy.zoo(seed=1).save(tmp_path / "zoo")
    assert load_zoo(tmp_path / "zoo").digest == toy.zoo(seed=0).digest
    assert [path.name for path in tmp_path.iterdir()] == ["zoo"]


def test_a_save_does_not_run_over_something_else(tmp_path):
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "thesis.tex").write_text("")
    with pytest.raises(MdbenchError, match="exists and is not a zoo"):
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
    import hashlib

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
    with pytest.raises(MdbenchError, match="on this machine there are: other"):
        load_zoo("nothing")


def test_digest_sees_every_value_and_every_name():
    one = toy.zoo()
    assert toy.zoo().digest == one.digest
    table = toy.table()
    table.loc[5, "output_cka"] += 1e-12
    assert make(table).digest != make(toy.table()).digest
    assert toy.zoo("other name").digest != one.digest


def test_every_column_of_a_zoo_is_in_the_schema():
    assert set(toy.zoo().configurations) <= set(COLUMNS)
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
    check_visible(["test_loss"], transductive=True)
    for column in ("test_error", "generalization_gap", "test_error_std", "generalization_gap_std"):
        with pytest.raises(MdbenchError, match="gives their labels away"):
            check_visible([column], transductive=True)
