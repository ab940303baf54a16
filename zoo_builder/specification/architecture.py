"""Which network a zoo is made of: the ``[architecture]`` table, and the way from it to a module."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mdbench.errors import MdbenchError

if TYPE_CHECKING:
    from torch import nn

#: The architectures of `zoo_builder.specification.models`, known by their names.
ARCHITECTURES: Final = ("mlp", "cnn1d", "cnn2d", "resnet18")


class ArchitectureSpec(BaseModel):
    """The ``[architecture]`` table of a zoo's specification.

    Attributes
    ----------
    name : one of `ARCHITECTURES`, or ``package.module:factory`` for one's own, called as
        ``factory(shape, classes, width=…, depth=…, **options)``; width and depth only where the grid or this table sets them.
    width, depth : where they are not axes of the grid; left out, the architecture's own default holds.
    options : further arguments, ``norm = false`` for instance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    width: int | None = Field(default=None, ge=1)
    depth: int | None = Field(default=None, ge=1)
    options: dict[str, bool | int | float | str] = {}

    @model_validator(mode="after")
    def _known(self) -> "ArchitectureSpec":
        if self.name not in ARCHITECTURES and ":" not in self.name:
            raise ValueError(
                f"{self.name!r} is none of {', '.join(ARCHITECTURES)}, nor the import path of a factory (package.module:name)"
            )
        return self

    def factory(self) -> "Callable[..., nn.Module]":
        """Return the function that makes networks.

        Raises
        ------
        MdbenchError
            The import path leads nowhere, or to something that cannot be called.
        """
        path = f"zoo_builder.specification.models:{self.name}" if self.name in ARCHITECTURES else self.name
        module, _, attribute = path.partition(":")
        try:
            found: Any = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise MdbenchError(f"architecture {self.name}: {error}; is its folder on PYTHONPATH?") from error
        if not callable(found):
            raise MdbenchError(f"architecture {self.name} is not a function that makes networks")
        return found  # type: ignore[no-any-return]

    def build(
        self, shape: tuple[int, ...], classes: int, width: int | None = None, depth: int | None = None, seed: int = 0
    ) -> "nn.Module":
        """Make a network with PyTorch's default initialisation, a function of the seed; global generators are left alone.

        Parameters
        ----------
        shape : an input's shape.
        classes : number of classes.
        width, depth : grid values; None where this table or the architecture decides.
        seed : of PyTorch's generator.

        Raises
        ------
        MdbenchError
            The factory fails, needs what was not given, or does not return an ``nn.Module`` whose parameters all train.
        """
        import torch

        knobs = {"width": self.width if width is None else width, "depth": self.depth if depth is None else depth}
        given = {knob: value for knob, value in knobs.items() if value is not None}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                network = self.factory()(shape, classes, **given, **self.options)
            except MdbenchError:
                raise
            except Exception as error:
                raise MdbenchError(f"architecture {self.name} with {given | self.options}: {error}") from error
        if not isinstance(network, torch.nn.Module):
            raise MdbenchError(f"architecture {self.name} returns {type(network).__name__}, not a torch.nn.Module")
        frozen = [name for name, value in network.named_parameters() if not value.requires_grad]
        if frozen:
            raise MdbenchError(f"architecture {self.name} freezes {frozen[0]}, but a zoo trains all parameters")
        return network
