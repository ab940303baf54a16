"""The figures of a configuration: which network they show, and what they say where there is nothing to show."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from test_tables import FRAGILE
from tiny_zoo import build_here, everything, write_spec

from mdbench.errors import MdbenchError
from mdbench.tables.loading import load_zoo
from zoo_builder.building.built import Built, Source
from zoo_builder.building.measuring import open_subject
from zoo_builder.building.naming import meant
from zoo_builder.building.portions import meant_in, portion_of
from zoo_builder.landscape import topology
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Settings, Subject
from zoo_builder.landscape.opening import open_surface
from zoo_builder.reporting import portrait as show
from zoo_builder.specification.axes import configuration_name
from zoo_builder.specification.spec import parse_spec

ROOT = Path(__file__).parents[1]
CONFIGURATION = "width=3/batch_size=4"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    build_here(
        write_spec(folder, width=[3], batch_size=[4, 8], seeds="[0, 1, 2]", training="epochs = 4"), folder / "zoo"
    )
    return folder / "zoo"


def test_figures_are_written_where_they_are_wanted(built, tmp_path):
    before = set(everything(built))
    paths = show.show(built, CONFIGURATION, tmp_path / "figures")
    assert [path.stem for path in paths] == list(show.FIGURES)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert set(everything(built)) == before


def test_without_a_folder_they_are_the_zoos(built, tmp_path):
    shutil.copytree(built, tmp_path / "zoo")
    paths = show.show(tmp_path / "zoo", f"{CONFIGURATION}/seed=1")
    assert {path.parent for path in paths} == {tmp_path / "zoo" / "figures" / "width=3_batch_size=4_seed=1"}
    load_zoo(tmp_path / "zoo")
    build_here(built.parent / "spec.toml", tmp_path / "zoo")  # they are in nobody's way


def test_the_network_that_is_named_is_shown(built):
    opened = Built.open(built)
    for name, seeds in ((CONFIGURATION, [0, 1]), (f"{CONFIGURATION}/seed=2", [2, 0])):
        portion = portion_of(opened, name)
        assert [one.name for one in portion.networks] == [f"{CONFIGURATION}/seed={seed}" for seed in seeds]
    subject = open_subject(Source.of(opened), portion, Settings())
    drawn = show.drawings(subject, name)
    assert tuple(drawn) == show.FIGURES
    directions = topology.eigenvector_directions(subject, 2)[[0]]
    losses = topology.sampled(subject.surface.part([0]), subject.train, directions, topology.grid(31, 2))
    shown = drawn["loss_surface"].subfigs[0].axes[0].collections[0].get_array()
    assert shown.min() >= losses.min() / 1.5
    # The ways begin and end at the networks, with statistics taken anew.
    ends = subject.surface.renormalized(subject.sample, subject.surface.points)
    expected = ends.scores(subject.sample, subject.surface.points[:, None])[1][:, 0].numpy()
    errors = [
        line.get_ydata() for line in drawn["connectivity"].axes[0].lines if len(np.atleast_1d(line.get_ydata())) == 25
    ]
    assert len(errors) == 3
    for line in errors:
        assert [line[0], line[-1]] == pytest.approx(expected)
    for figure in drawn.values():
        assert any(name in text.get_text() for text in figure.findobj(Text))


def test_a_network_without_curvature_is_shown_without_its_spectrum(built, tmp_path):
    """All the logits are so far apart that the loss is flat."""
    opened = Built.open(built)
    subject = open_subject(Source.of(opened), portion_of(opened, CONFIGURATION), Settings())
    network = subject.surface.network(0)
    with torch.no_grad():
        network[-1].weight.zero_()
        network[-1].bias.copy_(torch.tensor([1e4, 0.0, 0.0]))
    data = Data(subject.train.inputs, torch.zeros(len(subject.train), dtype=torch.int64))
    flat = Subject(open_surface([network], data.shape), data)
    drawn = show.drawings(flat, "flat")
    assert "hessian_density" not in drawn
    assert {"loss_surface_random", "weight_spectra"} <= set(drawn)


def test_what_is_not_there_is_named_with_what_is(built):
    with pytest.raises(
        MdbenchError, match=r"no configuration or network 'width=3/batch_size=5'; it has, for instance, .*width=3/batch"
    ):
        show.show(built, "width=3/batch_size=5")
    with pytest.raises(MdbenchError, match="not the folder of a build"):
        show.show(built / "units", CONFIGURATION)


def test_some_knobs_in_any_order_name_what_only_one_has(built):
    opened = Built.open(built)
    for said, name in {
        "batch_size=4": CONFIGURATION,
        "batch_size=4.0/width=3": CONFIGURATION,
        "/batch_size = 8/": "width=3/batch_size=8",
        "seed=2/batch_size=4": f"{CONFIGURATION}/seed=2",
    }.items():
        assert meant_in(opened, said) == name
    with pytest.raises(
        MdbenchError,
        match=r"'width=3' is width=3/batch_size=4, width=3/batch_size=8; say one of them, by batch_size too",
    ):
        meant_in(opened, "width=3")
    with pytest.raises(MdbenchError, match="'seed=2' is width=3/batch_size=4/seed=2, width=3/batch_size=8/seed=2; say"):
        meant_in(opened, "seed=2")
    for nothing in ("", "width=3/depth=2", "batch_size=nine", "width"):
        with pytest.raises(MdbenchError, match="no configuration or network"):
            meant_in(opened, nothing)


def test_many_candidates_are_not_all_listed():
    names = [f"width={width}/batch_size={size}/seed=0" for width in range(4) for size in range(5)]
    with pytest.raises(MdbenchError, match=r", … \(20 in all\); say one of them, by batch_size or width too") as raised:
        meant("seed=0", names)
    assert str(raised.value).count("width=") == 8


@pytest.mark.parametrize(
    ("page", "spec"), [("docs/zoos.md", None), ("docs/metrics.md", None), ("README.md", "zoos/mnist1d-cnn.toml")]
)
def test_the_example_of_a_page_is_in_the_zoo_of_the_example(page, spec):
    (said,) = re.findall(r"zoo show mine --config (\S*=\S*)", (ROOT / page).read_text())
    zoo = re.search(r"```toml\n(.*?)```", (ROOT / "docs/zoos.md").read_text(), re.DOTALL)
    text = (ROOT / spec).read_text() if spec else zoo[1]
    names = [configuration_name(point) for point in parse_spec(text, page).points()]
    assert meant(said, names) in names


def test_what_diverged_has_no_landscape(tmp_path, monkeypatch):
    (tmp_path / "fragile_shown.py").write_text(FRAGILE)
    monkeypatch.syspath_prepend(tmp_path)
    spec = write_spec(tmp_path, architecture='name = "fragile_shown:fragile"', width=[2], seeds="[0, 1, 2, 3]")
    zoo = build_here(spec, tmp_path / "zoo")
    lost = zoo.checkpoints.index[zoo.checkpoints["diverged"].astype(bool)]
    assert 0 < len(lost) < 4
    with pytest.raises(MdbenchError, match="diverged: there is no landscape around it"):
        show.show(tmp_path / "zoo", lost[0], trust_code=True)
    assert show.show(tmp_path / "zoo", "width=2", trust_code=True)


def test_the_command_says_what_it_wrote(built, tmp_path, monkeypatch, capsys):
    from mdbench.__main__ import main

    command = [
        "mdbench",
        "zoo",
        "show",
        str(built),
        "--config",
        CONFIGURATION,
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit):
        main()
    said = json.loads(capsys.readouterr().out)
    assert said["event"] == "written"
    assert sorted(said["files"]) == sorted(map(str, (tmp_path / "out").iterdir()))
