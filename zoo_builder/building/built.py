"""A zoo that is built: its networks, as they were trained, with the data that they learnt from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mdbench.errors import MdbenchError, reason
from mdbench.tables import Zoo, sha256_of
from zoo_builder.building.store import KEPT, SPEC, Store
from zoo_builder.building.tables import assemble, digest_of, predicted_of
from zoo_builder.building.work import material_of
from zoo_builder.specification import Material, Network, ZooSpec, check_trust, initialised, read_spec


@dataclass(frozen=True)
class Built:
    """A build that has come to its end.

    Attributes
    ----------
    store : its folder.
    spec : what was wanted.
    material : what the networks learnt from.
    zoo : their tables as training left them, without what was measured later.
    """

    store: Store
    spec: ZooSpec
    material: Material
    zoo: Zoo

    @classmethod
    def open(cls, folder: Path, *, trust_code: bool = False) -> Self:
        """Open the folder of a build, and run the code that its specification names for those who trust it alone.

        Raises
        ------
        MdbenchError
            There is no build in it, it has not come to its end, it is damaged, its data are no longer what they were, or it
            names code, and is not trusted.
        """
        store = Store(folder.absolute())
        manifest = store.manifest()
        left = [key for key in manifest.units if not store.has(key)]
        if left:
            raise MdbenchError(
                f"{folder} is not built to its end: {len(left)} of {len(manifest.units)} units are missing; "
                "`mdbench zoo build` goes on with it"
            )
        for key in manifest.units:
            store.check(key)
        spec = read_spec(store.folder / SPEC)
        if spec.digest != manifest.spec_sha256:
            raise MdbenchError(
                f"{store.folder / SPEC} is not the specification that the networks were built from; "
                "`mdbench zoo build` with the right one writes it anew"
            )
        check_trust(spec, trust_code, str(folder))
        material = Material.of_spec(spec)
        if material.digest != manifest.data_sha256:
            raise MdbenchError(f"{spec.dataset.name!r} holds other data than the networks in {folder} were trained on")
        rows, predicted = store.rows(list(manifest.units)), predicted_of(material.first.dataset)
        zoo = assemble(spec, rows, sha256_of(store.folder / SPEC), manifest.made_by, predicted)
        return cls(store, spec, material, zoo)


@dataclass(frozen=True)
class Source:
    """Where a worker finds a zoo's networks. Nothing in it is large.

    Attributes
    ----------
    folder : the zoo's.
    spec : the specification, as JSON.
    data : digest of the data.
    """

    folder: str
    spec: str
    data: str

    @classmethod
    def of(cls, built: Built) -> Self:
        """Return where a build's networks are."""
        return cls(str(built.store.folder), built.spec.text, built.material.digest)

    def material(self) -> tuple[ZooSpec, Material]:
        """Return the specification and the data, which a process keeps; raises if the data are others here."""
        return material_of(self.spec, self.data)

    def load(self, network: Network, shard: str, digest: str) -> nn.Module:
        """Return a trained network, in evaluation mode.

        Parameters
        ----------
        network : which.
        shard : the file of its tensors, relative to the zoo's folder.
        digest : of its tensors, as the table of checkpoints has it.

        Raises
        ------
        MdbenchError
            The tensors are missing, or not those that the table describes.
        """
        path, module = Path(self.folder, shard), self._initialised(network)
        state = _read(path, f"{network.name}/", module)
        if digest_of(state) != digest:
            raise MdbenchError(f"{path}: the tensors of {network.name} are not those that the zoo's tables describe")
        module.load_state_dict(state)
        return module.eval()

    def kept(self, network: Network, shard: str) -> dict[int, nn.Module]:
        """Return a network as it was at the steps that were kept: step → module; raises as `load` does."""
        path = Path(self.folder, shard).with_name(KEPT)
        Store(Path(self.folder)).check_kept(path.parent.name)
        modules = {}
        for step in network.how.keep:
            if step <= network.steps:
                module = modules[step] = self._initialised(network)
                module.load_state_dict(_read(path, f"{network.name}/{step}/", module))
                module.eval()
        return modules

    def _initialised(self, network: Network) -> nn.Module:
        spec, material = self.material()
        return initialised(spec, material.of(network.data).dataset, network)


def _read(path: Path, prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a network from a file, whose names begin with a prefix."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(f"{prefix}{name}") for name in module.state_dict()}
    except (OSError, SafetensorError) as error:
        raise MdbenchError(f"{path} cannot be read: {reason(error)}") from error
