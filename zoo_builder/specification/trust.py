"""Code that a specification names: it can be any function that can be imported, and is run for those who trust it alone."""

from mdbench.errors import MdbenchError
from zoo_builder.specification.architecture import ARCHITECTURES
from zoo_builder.specification.spec import ZooSpec


def code_of(spec: ZooSpec) -> dict[str, list[str]]:
    """Return the functions that a specification would have imported: table → import paths. Nothing is imported."""
    training = [spec.training, *(spec.training.changed(changes) for changes in spec.training.optimizers.values())]
    named = {
        "architecture": [spec.architecture.name] if spec.architecture.name not in ARCHITECTURES else [],
        "dataset": [spec.dataset.name] if spec.dataset.own else [],
        "training": [how.loss for how in training if how.loss and ":" in how.loss],
    }
    return {table: list(dict.fromkeys(paths)) for table, paths in named.items() if paths}


def check_trust(spec: ZooSpec, trust_code: bool, where: str, tables: tuple[str, ...] | None = None) -> None:
    """Refuse code that a specification names, unless it is trusted.

    Where a file comes from cannot be seen: one's own are no exception.

    Parameters
    ----------
    spec : the specification.
    trust_code : whether the caller trusts its code.
    where : whose it is, for the message.
    tables : those that are about to be followed; all if left out.

    Raises
    ------
    MdbenchError
        It names code, and is not trusted.
    """
    paths = [path for table, named in code_of(spec).items() if tables is None or table in tables for path in named]
    if paths and not trust_code:
        raise MdbenchError(
            f"{where}: zoo {spec.name} runs code of its own, {', '.join(paths)}; "
            "if you know this code and trust it, pass trust_code=True (--trust-code)"
        )
