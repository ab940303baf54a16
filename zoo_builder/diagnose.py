"""``mdbench diagnose``: one network of a person's own, one answer. Everything heavy is imported when it runs."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mdbench.errors import MdbenchError
from mdbench.extras import needs

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_KEPT = "what was measured is kept, and the same command goes on from there"


@app.command()
def diagnose(
    network: Annotated[
        list[str] | None,
        typer.Argument(
            help="Import path of the function that makes the network, my_module:make; files of weights may follow.",
            metavar="[MODULE:FUNCTION]",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            help="Its weights, .safetensors or .pt (tensors alone), of one seed or of several.",
            show_default=False,
            metavar="FILE...",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Import path of the function that returns training and test data, or a file .npz.", show_default=False
        ),
    ] = None,
    loss: Annotated[
        str, typer.Option(help="cross_entropy, mse, l1, bce_with_logits, or the import path of a function.")
    ] = "cross_entropy",
    known: Annotated[
        list[str] | None,
        typer.Option(
            help="What is known of the training, by commas: epochs=30,batch_size=128,learning_rate=0.1.",
            metavar="NAME=VALUE",
            show_default=False,
        ),
    ] = None,
    zoo: Annotated[
        str | None, typer.Option(help="Folder of a built zoo: diagnose one of its networks.", show_default=False)
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="Which: a configuration of that zoo, as `mdbench zoo show` takes it.",
            metavar="KNOB=VALUE/…",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("report"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Losses, the Hessian, spectra, and how alike seeds are; no more.")
    ] = False,
    thorough: Annotated[bool, typer.Option("--thorough", help="All families.")] = False,
    no_test: Annotated[
        bool, typer.Option("--no-test", help="Do without test data: fewer numbers, fewer answers.")
    ] = False,
    memory: Annotated[
        str | None, typer.Option(help="What measuring may take: '3 GB'.", show_default=False, metavar="AMOUNT")
    ] = None,
    experts: Annotated[
        int | None,
        typer.Option(help="Adapters that AlphaLoRA allots over the layers, in all; five a layer if left out.", min=1),
    ] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Run the code that the zoo's specification names.")
    ] = False,
) -> None:
    """Say why a network of yours underperforms, and how much to believe it."""
    if quick and thorough:
        raise MdbenchError("--quick and --thorough are two extents: give one of them")
    path, *more = network or [""]
    files = [*(weights or []), *map(Path, more)]
    if (zoo is None) != (config is None) or (zoo is None) == (not path):
        raise MdbenchError(
            "say which network: my_module:make with --weights and --data, or --zoo FOLDER with --config KNOB=VALUE/…"
        )
    if path and (not files or data is None):
        raise MdbenchError(f"{path} needs {'--weights FILE' if not files else '--data my_module:data'} besides")
    told = _known(known or [])
    with needs("zoo"):
        from mdbench.diagnosing import headline
        from mdbench.showing import say
        from zoo_builder.examining import check_folder, given, of_zoo
        from zoo_builder.examining import diagnose as run

    check_folder(out)
    extent: Any = "quick" if quick else "thorough" if thorough else "default"
    try:
        if path:
            found = given(path, files, str(data), loss, without_test=no_test)
        else:
            found = of_zoo(Path(str(zoo)), str(config), trust_code=trust_code)
        diagnosed = run(
            found.models,
            found.loss,
            train=found.train,
            test=found.test,
            configuration=found.configuration | told,
            extent=extent,
            memory=memory,
            progress=sys.stderr.isatty(),
            experts=experts,
            said=say,
            mixed=found.mixed,
        )
        where = diagnosed.report(out)
    except KeyboardInterrupt:
        typer.echo(f"stopped; {_KEPT}", err=True)
        raise typer.Exit(130) from None
    say(headline(diagnosed.diagnosis))
    for verdict in diagnosed.diagnosis.verdicts:
        share = verdict.probabilities[verdict.likeliest]
        say(f"{verdict.task}: {verdict.likeliest} {share:.0%}{'' if verdict.answered else ' (a hint: no answer)'}")
    say(f"wrote {where}")


def _known(said: list[str]) -> dict[str, float]:
    """Return what is known of a training, from NAME=VALUE."""
    found: dict[str, float] = {}
    for part in (part for text in said for part in text.split(",") if part.strip()):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name in found:
            raise MdbenchError(f"--known has {name} twice")
        try:
            found[name] = float(value)
        except ValueError:
            raise MdbenchError(f"--known {part!r} is not NAME=NUMBER: epochs=30,batch_size=128") from None
    return found
