"""The importer of the published tables: hostile tables, and the published facts."""

import hashlib

import pandas as pd
import pytest
import toy

from mdbench.errors import MdbenchError
from mdbench.sources.modeldiagnosis import COLUMNS, FOLDER, TABLES, read_clone
from mdbench.tables.zoo import Zoo

OURS = {ours: theirs for theirs, ours in COLUMNS.items()}
LABELS = {
    "bs_failure": "optimizer",
    "width_vs_batch": "width_vs_optimizer",
    "data_vs_batch": "data_vs_optimizer",
}
VERDICTS = {"small": "temperature_too_low", "large": "temperature_too_high", "batch": "optimizer", "optimal": "none"}


@pytest.fixture
def clone(tmp_path):
    """A folder laid out like a clone, with toy numbers under the published names."""
    for seed, file in enumerate(TABLES):
        table = toy.table(seed=seed).rename(columns=OURS)
        table["data"] /= 10
        (tmp_path / FOLDER).mkdir(parents=True, exist_ok=True)
        table.to_csv(tmp_path / FOLDER / file, index=False)
    return tmp_path


def test_a_clone_becomes_two_zoos_with_provenance(clone):
    clean, noisy = read_clone(clone)
    assert [clean.name, noisy.name] == ["cifar10-resnet18", "cifar10-resnet18-noise10"]
    assert clean.levels("data_fraction") == [10 * k for k in range(1, 11)]
    for one, file in zip((clean, noisy), TABLES, strict=True):
        (source,) = one.provenance.inputs
        assert source.sha256 == hashlib.sha256((clone / FOLDER / file).read_bytes()).hexdigest()
        assert one.provenance.license == "MIT"
    expected = toy.table().drop(columns="output_cka")  # published is the other kind of CKA
    expected = Zoo.from_table(clean.name, clean.title, expected, clean.moves, clean.provenance).configurations
    pd.testing.assert_frame_equal(clean.configurations, expected, rtol=1e-12)


def test_a_folder_that_is_no_clone(tmp_path):
    with pytest.raises(MdbenchError, match="is no clone of"):
        read_clone(tmp_path)


def change(line: int, column: str, value: str):
    def edit(text: str) -> str:
        lines = text.splitlines()
        cells = lines[line].split(",")
        cells[lines[0].split(",").index(column)] = value
        lines[line] = ",".join(cells)
        return "\n".join(lines)

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change(0, "CKA", "cka"), "column 'CKA' is missing"),
        (change(0, "CKA", "hessian_t"), "column 'hessian_t' stands there more than once"),
        (change(7, "train_error", "low"), r"column 'train_error', line 8: 'low' is not a finite number"),
        (change(3, "train_loss", "nan"), r"column 'train_loss', line 4: 'nan'"),
        (change(3, "train_loss", "inf"), r"column 'train_loss', line 4: 'inf'"),
        (change(3, "train_loss", ""), r"column 'train_loss', line 4: ''"),
        (lambda text: text + text.splitlines()[1] + "\n", "stands there 2 times"),
        (lambda text: "", "cannot be read as CSV"),
        (lambda text: text.splitlines()[0] + "\n", "no rows"),
        (lambda text: text + "1,2,3\n" + "4," * 99 + "5\n", "cannot be read as CSV"),
        (lambda text: "\0\0\0", "is missing"),
    ],
)
def test_a_damaged_table_says_where(clone, edit, message):
    path = clone / FOLDER / next(iter(TABLES))
    path.write_text(edit(path.read_text()))
    with pytest.raises(MdbenchError, match=message):
        read_clone(clone)


def test_bytes_that_are_no_text(clone):
    (clone / FOLDER / next(iter(TABLES))).write_bytes(b"\xff\xfe\x00\x81" * 50)
    with pytest.raises(MdbenchError):
        read_clone(clone)


def test_published_labels_are_what_the_grid_says(published):
    """3,380 rows × 3 tasks: the labels that we derive are the published ones."""
    agreed = 0
    for one, file in zip(read_clone(published), TABLES, strict=True):
        table = pd.read_csv(published / FOLDER / file)
        points = [
            f"width={row.width:g}/batch_size={row.bs:g}/data_fraction={10 * row.data:g}" for row in table.itertuples()
        ]
        for theirs, ours in LABELS.items():
            expected = pd.Series(table[theirs].replace(VERDICTS).to_numpy(), index=points)
            agreed += int((one.configurations[ours] == expected.reindex(one.configurations.index)).sum())
    assert agreed == 3380 * 3


def test_published_rfi_is_what_the_grid_says(published):
    names = {"rfi_inc_temp": "up", "rfi_dec_temp": "down", "rfi_width": "width", "rfi_data": "data"}
    for one, file in zip(read_clone(published), TABLES, strict=True):
        table = pd.read_csv(published / FOLDER / file)
        for theirs, ours in names.items():
            column = f"rfi_temperature_{ours}" if ours in ("up", "down") else f"rfi_{ours}"
            assert abs(one.configurations[column].to_numpy() - table[theirs].to_numpy()).max() < 1e-9


def test_published_grid_and_test_sides(published):
    from mdbench.cases.cases import load_cases
    from mdbench.cases.splits import split

    clean, noisy = read_clone(published)
    assert len(clean.configurations) == len(noisy.configurations) == 1690
    assert min(clean.levels("parameter_count")) == 11_420
    assert max(clean.levels("parameter_count")) == 44_662_922
    sizes = {
        case.name: (len(rows.samples[0]), len(rows.test))
        for case in load_cases("paper")
        for rows in [split(case, clean, noisy)]
    }
    assert sizes["cifar10/optimizer/few-shot/8"] == (96, 1560)
    assert sizes["cifar10/width_vs_optimizer/few-shot/1"] == (167, 1649)
    assert sizes["cifar10/data_vs_optimizer/few-shot/1"][1] == 634
