"""JSON of unknown origin, read as what it says and nothing else."""

import json
import math
from typing import Any


def read(content: bytes) -> Any:
    """Return what a JSON text says.

    Raises
    ------
    ValueError
        It is not JSON in UTF-8, a key stands twice in one object, a number is not finite, or it is nested too deeply to be
        read.
    """
    try:
        return json.loads(
            content.decode("utf-8"), object_pairs_hook=_object, parse_float=_finite, parse_constant=_refuse
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    said = dict(pairs)
    if len(said) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!a} stands there twice")
    return said


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no finite number")
    return number


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is no finite number")
