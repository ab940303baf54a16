"""Commands that other packages add: entry points of the group ``mdbench.commands``, name → Typer app.

A plug-in's module is imported for the help and for its own commands, so that it must be light: heavy imports belong into its
commands, within `mdbench.extras.needs`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import typer
from typer.core import TyperGroup

from mdbench.errors import MdbenchError
from mdbench.extras import install_line, needs

ENTRY_POINTS: Final = "mdbench.commands"
#: Command → the extra that it needs, where that is not called like it.
EXTRAS: Final = {"submit": "leaderboard", "diagnose": "zoo"}
#: Functions that packages add to `mdbench` itself.
FUNCTIONS: Final = "mdbench.functions"


class Commands(TyperGroup):
    """mdbench's own commands, then those of plug-ins."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands; nothing is imported."""
        own = super().list_commands(ctx)
        return own + sorted(set(_entry_points()).difference(own))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; a plug-in's one is imported now."""
        own = super().get_command(ctx, cmd_name)
        return own or (_load(cmd_name) if cmd_name in _entry_points() else None)


def diagnose(
    models: Any,
    loss: Any = "cross_entropy",
    *,
    train: Any,
    test: Any = None,
    configuration: Mapping[str, float] | None = None,
    extent: str = "default",
    memory: int | str | None = None,
    progress: bool = False,
    experts: int | None = None,
    said: Callable[[str], None] = lambda _: None,
    mixed: bool = False,
) -> Any:
    """Say what networks of one's own lack, and how much to believe it.

    Parameters
    ----------
    models : a PyTorch module, or several seeds of it.
    loss : what they were trained with: a name, such as ``cross_entropy`` or ``mse``, or a loss of PyTorch.
    train : training data: a pair of tensors or arrays, a ``Dataset``, a ``DataLoader``, or batches.
    test : test data, which more can be told from; None where there is none.
    configuration : what is known of the training: ``epochs``, ``batch_size``, ``learning_rate``, ``momentum``,
        ``weight_decay``, ``dropout``.
    extent : how much is measured: ``quick`` (losses, the Hessian, spectra), ``default``, or ``thorough`` (all families).
    memory : what measuring may take beside networks and data, about: bytes, or a text such as ``"3 GB"``; None for what is
        free.
    progress : whether to show a bar on stderr.
    experts : adapters that are allotted over the layers by AlphaLoRA, in all; None for five a layer.
    said : is called with what is being done, in words.
    mixed : whether training examples are in a random order already; others are put in one, for samples are beginnings.

    Returns
    -------
    Its ``verdicts`` are task → probabilities, answered or not, and why not; ``report(folder)`` writes a page.

    Raises
    ------
    MdbenchError
        Something that was given cannot be used, or too little could be measured; or the packages for it are not installed.
    """
    import importlib.metadata

    with needs("zoo"):
        found = [entry for entry in importlib.metadata.entry_points(group=FUNCTIONS) if entry.name == "diagnose"]
        if not found:
            raise MdbenchError(f"mdbench.diagnose is not installed; {install_line('zoo')}")
        return found[0].load()(
            models,
            loss,
            train=train,
            test=test,
            configuration=configuration,
            extent=extent,
            memory=memory,
            progress=progress,
            experts=experts,
            said=said,
            mixed=mixed,
        )


def _entry_points() -> dict[str, Any]:
    import importlib.metadata  # takes longer to import than a command of our own to be found

    return {entry.name: entry for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _load(name: str) -> Any:
    """Return a plug-in's command; one that cannot be imported says so when it is used, and leaves the others alone."""
    try:
        with needs(EXTRAS.get(name, name)):
            return typer.main.get_command(_entry_points()[name].load())
    except MdbenchError as error:
        return _unusable(name, str(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plug-in may raise anything
        return _unusable(name, f"it cannot be loaded: {type(error).__name__}: {error}")


def _unusable(name: str, reason: str) -> Any:
    stub = typer.Typer(add_completion=False, rich_markup_mode=None)

    @stub.command(
        name,
        help=f"(not usable) {reason}",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def refuse() -> None:
        raise MdbenchError(f"mdbench {name}: {reason}")

    return typer.main.get_command(stub)
