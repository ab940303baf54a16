"""Networks that nobody here wrote, as benchmarks/networks.py has them: each family beside something independent."""

import pytest

pytest.importorskip("torchvision")
pytest.importorskip("transformers")

import networks

from zoo_builder.landscape import FAMILIES

#: Networks of millions of parameters, and what does not take long of them.
LARGE = ("resnet18", "mobilenet_v3_small")
QUICK = ("performance", "spectra")


@pytest.fixture(scope="module")
def references():
    return {}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", networks.KINDS)
def test_a_family_agrees_with_what_is_independent(references, name, family):
    if name in LARGE and family not in QUICK:
        pytest.skip("it takes minutes: python benchmarks/networks.py")
    if name not in references:
        references[name] = networks.Reference(networks.KINDS[name]())
    _, found = networks.compare(references[name], family)
    assert not [str(one) for one in found.agreements if not one.good]
    if found.measured:
        assert found.agreements or family == "topology"
    else:
        assert family in ("memorization", "prunability")
        assert "of classes" in found.reason
