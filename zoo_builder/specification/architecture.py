"""Which network a zoo is made of: the ``[architecture]`` table, and the way from it to a module."""

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from mdbench.errors import MdbenchError
from zoo_builder.specification.axes import OF_ARCHITECTURE, OF_SIZE
from zoo_builder.specification.option import Value
from zoo_builder.specification.options import OPTIONS, fault
from zoo_builder.specification.own import frames, imported
from zoo_builder.specification.strict import Whole

if TYPE_CHECKING:
    from torch import nn

#: The architectures of `zoo_builder.specification.models`, known by their names.
ARCHITECTURES: Final = tuple(OPTIONS)


class ArchitectureSpec(BaseModel):
    """The ``[architecture]`` table of a zoo's specification.

    Attributes
    ----------
    name : one of `ARCHITECTURES`, or ``package.module:factory`` for one's own, called as
        ``factory(shape, outputs, width=…, depth=…, **options)``; width and depth only where the grid or this table sets them,
        and with ``vocabulary=…`` if it has a parameter of that name.
    width, depth : where they are not axes of the grid; left out, the architecture's own default holds.
    options : further arguments, ``norm = "layer"`` for instance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    width: Whole | None = Field(default=None, ge=1)
    depth: Whole | None = Field(default=None, ge=1)
    options: dict[str, Value] = {}

    @model_validator(mode="after")
    def _known(self) -> "ArchitectureSpec":
        if self.name not in ARCHITECTURES and ":" not in self.name:
            raise ValueError(
                f"{self.name!r} is none of {', '.join(ARCHITECTURES)}, nor the import path of a factory (package.module:name)"
            )
        return self

    @field_validator("options")
    @classmethod
    def _possible(cls, options: dict[str, Value], info: ValidationInfo) -> dict[str, Value]:
        name = info.data.get("name")
        wrong = fault(name, options) if name in ARCHITECTURES else None
        if wrong:
            raise ValueError(wrong)
        return options

    def factory(self) -> "Callable[..., nn.Module]":
        """Return the function that makes networks.

        Raises
        ------
        MdbenchError
            The import path leads nowhere, or to something that cannot be called.
        """
        if self.name in ARCHITECTURES:
            from zoo_builder.specification.models import cnn1d, cnn2d, mlp, pinn, resnet18, transformer, two_layer, unet

            known: dict[str, Callable[..., nn.Module]] = {
                made.__name__: made for made in (mlp, cnn1d, cnn2d, resnet18, unet, transformer, two_layer, pinn)
            }
            return known[self.name]
        return imported(self.name, "architecture", "makes networks")

    def build(
        self,
        shape: tuple[int, ...],
        outputs: int,
        width: int | None = None,
        depth: int | None = None,
        seed: int = 0,
        *,
        vocabulary: int = 0,
        **options: Value,
    ) -> "nn.Module":
        """Make a network with PyTorch's default initialisation, a function of the seed; global generators are left alone.

        Dropout of PyTorch's in it is swapped for `zoo_builder.specification.dropout.Dropout`.

        Parameters
        ----------
        shape : an input's shape.
        outputs : number of outputs: classes, or values.
        width, depth : grid values; None where this table or the architecture decides.
        seed : of PyTorch's generator.
        vocabulary : number of token ids; 0 where inputs are numbers.
        **options : grid values that stand in the place of this table's options.

        Raises
        ------
        MdbenchError
            The factory fails, needs what was not given, does not take what was, or does not return an ``nn.Module`` whose
            parameters all train.
        """
        import torch

        from zoo_builder.specification.dropout import swapped

        factory = self.factory()
        knobs = {"width": self.width if width is None else width, "depth": self.depth if depth is None else depth}
        given = {knob: value for knob, value in knobs.items() if value is not None} | self.options | options
        wrong = self._fault(factory, given, vocabulary)
        if wrong:
            raise MdbenchError(f"architecture {self.name}: {wrong}")
        if "vocabulary" in _parameters(factory)[0]:
            given["vocabulary"] = vocabulary
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                network = factory(shape, outputs, **given)
                if isinstance(network, torch.nn.Module):
                    network = swapped(network)
            except MdbenchError:
                raise
            except (Exception, SystemExit) as error:
                said = str(error).partition("\nException raised from ")[0]  # PyTorch's own frames, of C++
                raise MdbenchError(f"architecture {self.name} with {given}: {said}{frames(error)}") from error
        if not isinstance(network, torch.nn.Module):
            raise MdbenchError(f"architecture {self.name} returns {type(network).__name__}, not a torch.nn.Module")
        frozen = [name for name, value in network.named_parameters() if not value.requires_grad]
        if frozen:
            raise MdbenchError(f"architecture {self.name} freezes {frozen[0]}, but a zoo trains all parameters")
        return network

    def _fault(self, factory: Callable[..., object], given: Mapping[str, Value], vocabulary: int) -> str | None:
        """Return what a factory will not take of what it would be given, in a sentence; None if it takes all of it."""
        known, needed, others = _parameters(factory)
        asked = given if self.name not in ARCHITECTURES else [name for name in OF_SIZE if name in given]
        unknown = [name for name in asked if name not in known and not others]
        if unknown:
            return f"it does not take {unknown[0]}, only {', '.join(known) or 'a shape and outputs'}"
        missing = [name for name in needed if name not in given and name != "vocabulary"]
        if missing:
            where = "[architecture]" if missing[0] in OF_SIZE else "[architecture.options]"
            axis = ", or make it an axis" if missing[0] in (*OF_SIZE, *OF_ARCHITECTURE) else ""
            return f"it needs {missing[0]}: write it in {where}{axis}"
        if self.name not in ARCHITECTURES:
            return None
        if vocabulary and "vocabulary" not in known:
            return 'it takes numbers, and the inputs are token ids; write name = "transformer", or one of your own'
        return fault(self.name, {name: value for name, value in given.items() if name not in OF_SIZE})


def _parameters(factory: Callable[..., object]) -> tuple[list[str], list[str], bool]:
    """Return what a factory takes by name besides shape and outputs, what of that it needs, and whether it takes others.

    As far as can be known.
    """
    try:
        every = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return [], [], True
    named = [one for one in every if one.kind is one.POSITIONAL_OR_KEYWORD][2:]
    named += [one for one in every if one.kind is one.KEYWORD_ONLY]
    needed = [one.name for one in named if one.default is one.empty]
    return [one.name for one in named], needed, any(one.kind is one.VAR_KEYWORD for one in every)
