"""How networks are trained: the ``[training]`` table of a specification."""

from typing import Any, ClassVar, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from zoo_builder.specification.axes import Point, check_knob
from zoo_builder.specification.own import PATH
from zoo_builder.specification.strict import Flag, Number, Strict, Whole, faults

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["constant", "steps", "cosine", "linear"]

#: The losses known by name; another one is the import path of a function.
LOSSES: Final = ("cross_entropy", "mse", "per_position")
OPTIMIZERS: Final = ("sgd", "adam", "adamw")
#: Fields that mean something to one kind of optimizer only.
_OF_SGD: Final = ("momentum", "nesterov", "dampening")
_OF_ADAM: Final = ("betas", "eps")


class Sharpness(Strict):
    """Sharpness-aware minimization: the gradient is taken where the loss is largest nearby (Foret et al., ICLR 2021).

    Attributes
    ----------
    rho : how far away, in the norm of all parameters together.
    adaptive : whether each parameter's distance counts relative to its size (ASAM, Kwon et al., ICML 2021).
    """

    rho: Number = Field(default=0.05, ge=0, allow_inf_nan=False)
    adaptive: Flag = False


class Layerwise(Strict):
    """Learning rates layer by layer, from the tails of their spectra (TempBalance, Zhou et al., NeurIPS 2023).

    Attributes
    ----------
    by : the measure: Hill's estimate of the exponent.
    range : what the learning rate is multiplied by in the layer of the smallest and of the largest exponent.
    every : epochs between two measurements.
    tail : where a tail begins: at the ``"middle"`` of the eigenvalues, at the peak of their density (``"peak"``, as
        published), or where the fit is closest (``"fit"``).
    """

    by: Literal["alpha_hill"] = "alpha_hill"
    range: tuple[Number, Number] = (0.5, 1.5)
    every: Whole = Field(default=1, ge=1)
    tail: Literal["middle", "peak", "fit"] = "peak"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 0 < self.range[0] <= self.range[1] < float("inf"):
            raise ValueError("range is two factors of the learning rate above 0, the smaller one first")
        return self


class Augmentation(Strict):
    """How inputs are changed anew whenever they are seen; drawn from a stream of the network's own.

    Attributes
    ----------
    shift : signals and images are moved by up to so many places along each axis, around the edge.
    flip : whether signals and images are turned left to right, half of the time.
    crop : images and signals are cut out of themselves with so many zeros on each side (pad and crop).
    """

    shift: Whole = Field(default=0, ge=0)
    flip: Flag = False
    crop: Whole = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.shift or self.flip or self.crop):
            raise ValueError("nothing is changed: write shift, flip or crop, or leave augmentation out")
        return self


class TrainingSpec(Strict):
    """The ``[training]`` table. Left alone, stochastic gradient descent with momentum, as in the published zoo's literature.

    Attributes
    ----------
    learning_rate, weight_decay, batch_size, epochs, steps, data_fraction, label_noise : where they are not axes of the grid.
        `steps` of the optimizer take the place of `epochs`. Left out, the learning rate is 0.1, with Adam 0.001.
    rate_factor : what an axis ``learning_rate`` is multiplied by: ways of training whose rates are of different sizes share
        an axis by it, each with its own factor in `optimizers`.
    optimizer : ``"sgd"``, ``"adam"`` (weight decay as part of the gradient) or ``"adamw"`` (apart from it).
    momentum, nesterov, dampening : of SGD, as in `torch.optim.SGD`.
    betas, eps : of Adam and AdamW.
    full_batch : whether every step sees all examples; a step is an epoch then.
    sharpness, layerwise : see `Sharpness` and `Layerwise`; left out, neither.
    clip : gradients longer than this, in the norm of all parameters together, are scaled to it; 0 for none.
    average : ``"swa"``, the mean of the parameters at the ends of epochs from `average_from` on, or ``"ema"``, a moving mean
        after every step; normalization statistics are taken anew for it. Left out, the last parameters count.
    average_from : share of the steps after which averaging begins.
    average_decay : how much of the moving mean is kept at a step.
    schedule : of the learning rate, behind the warm-up: ``"constant"``; ``"steps"``, drops at `milestones`; ``"cosine"`` and
        ``"linear"``, down to nothing at the end.
    milestones : shares of the steps after which the learning rate is multiplied by `factor`.
    factor : see `milestones`.
    warmup : share of the steps over which the learning rate rises linearly from nothing.
    loss : ``"cross_entropy"``, ``"mse"``, ``"per_position"`` or ``package.module:loss``; left out, that of the data's kind.
    label_smoothing : share of the target that is spread over all classes.
    class_weights : a weight a class; left out, one each. A mean over examples is divided by the sum of their weights.
    augmentation : see `Augmentation`.
    optimizers : name → fields of this table that it changes: what the axis ``optimizer`` takes its names from.
    keep : steps after which a network is kept as well, ascending; 0 is before the first one.
    """

    LATER: ClassVar[frozenset[str]] = frozenset(
        (
            *(
                "steps",
                "optimizer",
                "nesterov",
                "dampening",
                "betas",
                "eps",
                "full_batch",
                "sharpness",
                "layerwise",
                "clip",
            ),
            *("average", "average_from", "average_decay", "schedule", "loss", "label_smoothing", "class_weights"),
            *("augmentation", "optimizers", "keep", "rate_factor"),
        )
    )

    learning_rate: Number = 0.1
    weight_decay: Number = 5e-4
    momentum: Number = Field(default=0.9, ge=0, lt=1)
    batch_size: Whole = 128
    epochs: Whole = 30
    data_fraction: Number = 100
    label_noise: Number = 0
    milestones: tuple[Number, ...] = (0.5, 0.75)
    factor: Number = Field(default=0.1, gt=0, allow_inf_nan=False)
    warmup: Number = Field(default=0, ge=0, lt=1)
    steps: Whole | None = None
    optimizer: Optimizer = "sgd"
    nesterov: Flag = False
    dampening: Number = Field(default=0, ge=0, lt=1)
    betas: tuple[Number, Number] = (0.9, 0.999)
    eps: Number = Field(default=1e-8, gt=0, allow_inf_nan=False)
    full_batch: Flag = False
    sharpness: Sharpness | None = None
    layerwise: Layerwise | None = None
    clip: Number = Field(default=0, ge=0, allow_inf_nan=False)
    average: Literal["swa", "ema"] | None = None
    average_from: Number = Field(default=0.75, ge=0, lt=1)
    average_decay: Number = Field(default=0.999, ge=0, lt=1)
    schedule: Schedule = "steps"
    loss: str | None = None
    label_smoothing: Number = Field(default=0, ge=0, lt=1)
    class_weights: tuple[Number, ...] = ()
    augmentation: Augmentation | None = None
    optimizers: dict[str, dict[str, Any]] = {}
    keep: tuple[Whole, ...] = ()
    rate_factor: Number = Field(default=1, gt=0, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _rate_of_adam(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("optimizer") in ("adam", "adamw") and "learning_rate" not in given:
            return {**given, "learning_rate": 1e-3}
        return given

    @model_validator(mode="after")
    def _check(self) -> Self:
        for knob in ("learning_rate", "weight_decay", "batch_size", "epochs", "data_fraction", "label_noise"):
            check_knob(knob, getattr(self, knob))
        if self.steps is not None:
            check_knob("steps", self.steps)
        self._check_schedule()
        self._check_optimizer()
        self._check_loss()
        if list(self.keep) != sorted(set(self.keep)) or any(step < 0 for step in self.keep):
            raise ValueError("keep is steps from 0 up, ascending, each once")
        for name, changes in self.optimizers.items():
            if "optimizers" in changes:
                raise ValueError(f"optimizers.{name} must not hold optimizers of its own")
            try:
                self.changed(changes)
            except ValidationError as error:
                place, said = next(iter(faults(error).items()))
                where = ".".join(part for part in ("optimizers", name, place) if part)
                raise ValueError(f"{where}: {said}") from None
        return self

    def _check_schedule(self) -> None:
        if list(self.milestones) != sorted(self.milestones) or any(not 0 < share < 1 for share in self.milestones):
            raise ValueError("milestones are shares of the steps between 0 and 1, ascending")
        for field in ("milestones", "factor"):
            if self.schedule != "steps" and field in self.model_fields_set:
                raise ValueError(f'{field} means nothing with schedule = "{self.schedule}"; leave one of them out')
        for field in ("average_from", "average_decay"):
            if field in self.model_fields_set and self.average is None:
                raise ValueError(
                    f'{field} means nothing without average; write average = "swa" or "ema", or leave it out'
                )
        if self.average == "swa" and "average_decay" in self.model_fields_set:
            raise ValueError('average_decay is of average = "ema"; "swa" weighs all alike: leave it out')
        if self.steps is not None and "epochs" in self.model_fields_set:
            raise ValueError("steps take the place of epochs: keep one of them")
        if self.full_batch and "batch_size" in self.model_fields_set:
            raise ValueError("full_batch = true takes all examples at every step: leave batch_size out")

    def _check_optimizer(self) -> None:
        strange = _OF_ADAM if self.optimizer == "sgd" else _OF_SGD
        for field in strange:
            if field in self.model_fields_set:
                owner = "adam and adamw" if self.optimizer == "sgd" else "sgd"
                raise ValueError(f'{field} is of {owner}, but optimizer = "{self.optimizer}": leave it out')
        if any(not 0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas are two shares from 0 to below 1")
        if self.nesterov and (not self.momentum or self.dampening):
            raise ValueError("nesterov = true needs a momentum above 0 and no dampening")

    def _check_loss(self) -> None:
        if self.loss is not None and self.loss not in LOSSES and not PATH.fullmatch(self.loss):
            raise ValueError(
                f"loss {self.loss!r} is none of {', '.join(LOSSES)}, nor the import path of a function (package.module:name)"
            )
        if any(not 0 < weight < float("inf") for weight in self.class_weights):
            raise ValueError("class_weights are numbers above 0, one a class")
        if self.loss is not None and self.loss not in ("cross_entropy", "per_position"):
            for field in ("label_smoothing", "class_weights"):
                if getattr(self, field):
                    raise ValueError(f'{field} means nothing with loss = "{self.loss}": leave it out')

    @property
    def idle(self) -> frozenset[str]:
        """Fields that mean nothing beside the others."""
        means_nothing = {
            "epochs": self.steps is not None,
            "batch_size": self.full_batch,
            "milestones": self.schedule != "steps",
            "factor": self.schedule != "steps",
            "momentum": self.optimizer != "sgd",
            "nesterov": self.optimizer != "sgd",
            "dampening": self.optimizer != "sgd",
            "betas": self.optimizer == "sgd",
            "eps": self.optimizer == "sgd",
            "average_from": self.average is None,
            "average_decay": self.average != "ema",
        }
        return frozenset(field for field, nothing in means_nothing.items() if nothing)

    def changed(self, changes: dict[str, Any]) -> "TrainingSpec":
        """Return this table with other fields in place of its own, checked.

        Where another kind of optimizer is among them, what is of the old kind only is dropped.
        """
        fields = {name: getattr(self, name) for name in self.model_fields_set if name not in ("optimizers", "steps")}
        if self.steps is not None:
            fields["steps"] = self.steps
        kind = changes.get("optimizer", self.optimizer)
        if kind != self.optimizer:
            for name in _OF_SGD if self.optimizer == "sgd" else _OF_ADAM:
                fields.pop(name, None)
            if (kind == "sgd") != (self.optimizer == "sgd"):
                fields.pop("learning_rate", None)
        for one, other in (("steps", "epochs"), ("epochs", "steps")):
            if one in changes:
                fields.pop(other, None)
        return TrainingSpec.model_validate({**fields, **changes})

    def at(self, point: Point) -> "TrainingSpec":
        """Return this table as it is at a grid point."""
        named = point.get("optimizer")
        table = self
        if named is not None:
            table = self.changed(self.optimizers[str(named)] if named in self.optimizers else {"optimizer": named})
        changes: dict[str, Any] = {}
        for knob, value in point.items():
            if knob == "rho":
                adaptive = table.sharpness.adaptive if table.sharpness else False
                changes["sharpness"] = Sharpness(rho=float(value), adaptive=adaptive)
            elif knob == "learning_rate":
                changes[knob] = float(value) * table.rate_factor
            elif knob != "optimizer" and knob in TrainingSpec.model_fields:
                changes[knob] = int(value) if knob in ("batch_size", "epochs", "steps") else value
        return table.changed(changes) if changes else table.changed({})
