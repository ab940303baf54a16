import os
import shutil
import signal
import sys
from pathlib import Path

# One thread a process: pytest runs a process a core, and threads that wait for each other take ten times as long.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import pytest
import toy
from hypothesis import HealthCheck, settings

from mdbench.paths import zoo_home

# A shell without job control starts what it puts into the background with SIGINT ignored, and programs inherit that. Tests that
# send it need it heard: here and, since a handler of one's own is reset to the default on exec, in every program they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))  # the plain procedure is an independent reference

# Machines differ in speed, and the same machine from hour to hour: no test depends on it.
settings.register_profile("mdbench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mdbench")

PUBLISHED = Path(os.environ.get("MODELDIAGNOSIS", ROOT.parent / "shared" / "ModelDiagnosis"))


@pytest.fixture(scope="session")
def published() -> Path:
    """A clone of the public ModelDiagnosis repository: $MODELDIAGNOSIS, or ../shared/ModelDiagnosis."""
    if not (PUBLISHED / "model_diagnosis_dataset").is_dir():
        pytest.skip(f"the published tables are not at {PUBLISHED}: nothing was checked against them")
    return PUBLISHED


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """Every test has its own, empty home."""
    monkeypatch.setenv("MDBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """A zoo of eight configurations with three seeds each, and label noise, which nobody may change."""
    from tiny_zoo import build_here, write_spec

    folder = tmp_path_factory.mktemp("built")
    spec = write_spec(folder, label_noise=[0, 25], width=[2, 3], batch_size=[4, 8], seeds="[0, 1, 2]")
    build_here(spec, folder / "zoo")
    return folder / "zoo"


@pytest.fixture(scope="session")
def measured(built, tmp_path_factory) -> Path:
    """The same, measured in full."""
    from tiny_zoo import here

    from zoo_builder.building.measuring import measure

    folder = tmp_path_factory.mktemp("measured") / "zoo"
    shutil.copytree(built, folder)
    measure(folder, here)
    return folder


@pytest.fixture
def toy_home(home) -> Path:
    """A home with the toy zoos, under the names that the published cases use."""
    for one in toy.both():
        one.save(zoo_home() / one.name)
    return home


@pytest.fixture
def method_file(tmp_path):
    """Write a method file."""

    def write(text: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def hub(tmp_path):
    """A Hugging Face Hub on this machine, which the client takes for the real one."""
    from hub import for_real, running

    with running() as here, for_real(here, tmp_path / "hf"):
        yield here


@pytest.fixture(autouse=True)
def _as_it_was():
    """Close what a test has drawn, which Matplotlib keeps, and hear Ctrl-C again: a command that was stopped hears no second."""
    heard = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, heard)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
