"""What the networks of a zoo learn from: a data set for each variation that the grid asks for."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from mdbench.errors import MdbenchError
from zoo_builder.specification.axes import OF_DATA, Axis, Point
from zoo_builder.specification.datasets import Dataset, DatasetSpec, load_dataset
from zoo_builder.specification.spec import ZooSpec
from zoo_builder.specification.subsets import Subsets, draw_order, draw_subsets


class Lesson(NamedTuple):
    """A data set, and which of its examples a grid point uses."""

    dataset: Dataset
    subsets: Subsets


@dataclass(frozen=True, eq=False)
class Material:
    """The data of a zoo.

    Attributes
    ----------
    lessons : ``[dataset]`` table as JSON → what it describes; in the order of the grid.
    """

    lessons: dict[str, Lesson]

    @classmethod
    def of_spec(cls, spec: ZooSpec) -> Self:
        """Load all data of a zoo; raises as `load_dataset` and `draw_subsets` do."""
        wanted = {one.model_dump_json(): one for one in map(spec.dataset_at, spec.points())}
        lessons = {}
        for said, one in wanted.items():
            dataset = load_dataset(one)
            lessons[said] = Lesson(dataset, _subsets(dataset, one.seed))
        _check(spec, lessons)
        return cls(lessons)

    @classmethod
    def single(cls, spec: ZooSpec, dataset: Dataset, subsets: Subsets) -> Self:
        """Return the data of a zoo all of whose grid points learn from one data set, which is there."""
        return cls({spec.dataset_at(point).model_dump_json(): Lesson(dataset, subsets) for point in spec.points()})

    @property
    def first(self) -> Lesson:
        """The data of the grid's first point."""
        return next(iter(self.lessons.values()))

    def of(self, data: DatasetSpec) -> Lesson:
        """Return what a ``[dataset]`` table describes."""
        return self.lessons[data.model_dump_json()]

    @property
    def digest(self) -> str:
        """SHA-256 of all data; where there is one data set, its own digest."""
        digests = list(dict.fromkeys(lesson.dataset.digest for lesson in self.lessons.values()))
        return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _check(spec: ZooSpec, lessons: Mapping[str, Lesson]) -> None:
    """Refuse what only data can tell to be wrong."""
    datasets = [lesson.dataset for lesson in lessons.values()]
    forms = {(one.kind, one.shape, one.outputs, one.vocabulary): one for one in datasets}
    if len(forms) > 1:
        said = " and ".join(f"{kind} {shape} {outputs} {tokens}" for kind, shape, outputs, tokens in forms)
        raise MdbenchError(
            f"{spec.dataset.name}: grid points have data of several forms (kind, input shape, outputs, vocabulary): {said}; "
            "the networks of a zoo learn one"
        )
    noisy = any(spec.training.at(point).label_noise for point in spec.points())
    if noisy and datasets[0].kind != "classes":
        raise MdbenchError(
            f"label_noise is of data with a class an example; {spec.dataset.name!r} has none: leave it out"
        )
    for axis in spec.axes:
        _check_axis(spec, axis, lessons)


def _check_axis(spec: ZooSpec, axis: Axis, lessons: Mapping[str, Lesson]) -> None:
    """Refuse an axis two of whose values are the same examples with the same labels."""
    if axis.knob not in (*OF_DATA, "data_fraction", "label_noise"):
        return
    first: Point = {one.knob: one.values[0] for one in spec.axes}
    seen: dict[object, float | str] = {}
    for value in axis.values:
        point = {**first, axis.knob: value}
        dataset, subsets = lessons[spec.dataset_at(point).model_dump_json()]
        how = spec.training.at(point)
        same: object = dataset.digest
        if axis.knob == "data_fraction":
            same = subsets.amount(how.data_fraction)
        elif axis.knob == "label_noise":
            same = tuple(subsets.corrupted(100, how.label_noise))
        if same in seen:
            raise MdbenchError(
                f"{spec.dataset.name}: {axis.knob} = {seen[same]:g} and {axis.knob} = {value:g} are the same data, so that "
                "this axis changes nothing between them: leave one of them out"
            )
        seen[same] = value


def _subsets(dataset: Dataset, seed: int) -> Subsets:
    if dataset.kind == "classes":
        return draw_subsets(dataset.train_targets, dataset.outputs, seed)
    return draw_order(len(dataset.train_targets), seed)
