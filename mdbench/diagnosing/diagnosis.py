"""What a diagnosis says, typed: ``diagnosis.json``. Its JSON Schema is in ``docs/diagnosis.schema.json``."""

import json
import sys
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

#: Version of ``diagnosis.json``. Later versions read earlier files.
VERSION: Final = 1


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")


class Share(_Record):
    """A share with its 95 % interval, between 0 and 1."""

    value: float
    low: float
    high: float
    count: int = Field(description="networks or zoos that the interval is over")


class Bin(_Record):
    """Left-out networks of about the same probability: what was said, and how often it was right."""

    said: float
    right: Share = Field(description="interval over networks (Wilson)")


class ZooRecord(_Record):
    """One zoo, answered by who never saw it or its kin. Clear is a network whose verdict is more than noise."""

    zoo: str
    networks: int
    right: int
    answered: int
    right_answered: int
    clear: int
    clear_right: int
    clear_answered: int
    clear_right_answered: int


class Reliability(_Record):
    """How good these very columns and this method are on zoos that were left out, of networks with a clear lack."""

    accuracy: Share = Field(description="whatever was said; mean and Student's interval over zoos")
    answered: Share = Field(description="share of networks that were answered; the same")
    right: Share | None = Field(description="of those; null where none was")
    bins: tuple[Bin, ...]
    zoos: tuple[ZooRecord, ...]


class Verdict(_Record):
    """The answer to one question, or why there is none."""

    task: str
    question: str
    probabilities: dict[str, float] = Field(description="verdict → calibrated probability")
    likeliest: str
    answered: bool
    why_not: str | None = Field(description="why there is no answer; the likeliest verdict is then a hint")
    threshold: float | None = Field(description="probability from which on left-out zoos were right 95 % of the time")
    temperature: float = Field(description="by which probabilities were made true on left-out zoos")
    coordinates: tuple[str, ...] = Field(description="what was looked at")
    reliability: Reliability


class Outside(_Record):
    """A number that lies beyond all that the pool has."""

    coordinate: str
    value: float
    low: float
    high: float
    beyond: float = Field(description="how far beyond, in standard deviations of the pool")


class Neighbour(_Record):
    """A network of the pool that looks like this one."""

    zoo: str
    configuration: str
    distance: float = Field(description="mean distance of a coordinate, in standard deviations of the pool")
    lacked: dict[str, str] = Field(description="task → verdict; none where two moves help as much")


class Move(_Record):
    """What a verdict recommends, in a person's own terms, and what it gained elsewhere."""

    verdict: str
    what: str
    gain: float | None = Field(description="mean gain of one step on the nearest networks, points of test accuracy")
    spread: float | None = Field(description="its standard deviation over them, points")
    networks: int


class Layer(_Record):
    """A layer's spectrum, and what follows from it."""

    layer: str
    rows: int
    columns: int
    exponent: float | None
    minus_fresh: float | None = Field(description="Hill's exponent less that of fresh initialisation")
    trained: Literal["under", "well", "over"] | None
    rate: float | None = Field(description="factor of the learning rate by TempBalance")
    pruned: float | None = Field(description="share to prune by AlphaPruning at 50 % in all")
    experts: int | None = Field(default=None, description="adapters that AlphaLoRA allots to it, of a total")


class Diagnosis(_Record):
    """One network of a person's own, and what to believe of it."""

    version: int = VERSION
    checkpoints: int
    parameters: int
    extent: str
    verdicts: tuple[Verdict, ...]
    outside: tuple[Outside, ...] = ()
    nearest: tuple[Neighbour, ...] = ()
    moves: tuple[Move, ...] = ()
    experiment: str | None = Field(default=None, description="the cheapest one that tells two verdicts apart")
    layers: tuple[Layer, ...] = ()
    measured: dict[str, float | None] = Field(description="column → number, or null")
    reasons: dict[str, str] = Field(description="family → what is missing and why")
    configuration: dict[str, float] = Field(default_factory=dict, description="what is known of the training")
    notes: tuple[str, ...] = ()
    way: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    command: str = ""


def load_diagnosis(text: str | bytes) -> Diagnosis:
    """Read ``diagnosis.json``."""
    return Diagnosis.model_validate_json(text)


def json_schema() -> str:
    """Return the JSON Schema of ``diagnosis.json``, as it is written."""
    return json.dumps(Diagnosis.model_json_schema(mode="serialization"), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())
