"""How good `mdbench diagnose` is on zoos that it never saw: exactly its pipeline, each group of kin left out.

    python benchmarks/diagnose.py [--out docs/diagnose.md]

For every extent, and for one network or several seeds: what is asked, how often there was an answer, and how often it was
right. Judge, temperature and threshold of a zoo come from the other groups alone. Then about the zoo of
`benchmarks/foreign.py`, and about the four networks of `examples/networks.py`. Writes the page and its figure.
"""

import argparse
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import foreign
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from mdbench.diagnosing import calibration, headline, known, outside
from mdbench.diagnosing.answering import EDGES, HINTS, reliability_of
from mdbench.diagnosing.leaving import LeftOut, leave_out
from mdbench.diagnosing.pool import ASKED, Pool, bundled_pool
from mdbench.diagnosing.said import percent
from mdbench.showing import COLOURS, MARKERS, STYLE, code, table
from mdbench.tables import find_task
from zoo_builder.building import executors
from zoo_builder.examining import diagnose
from zoo_builder.examining.extent import EXTENTS
from zoo_builder.landscape import FAMILIES

#: What is measured, and whether of several seeds.
ASKED_OF: Final = (("quick", False), ("default", False), ("quick", True), ("default", True))
#: What is shown zoo by zoo.
SHOWN: Final = ("default", False)
#: Share of the networks that is to be answered, 95 % of it rightly.
GOALS: Final = {"optimizer": 0.4, "data_vs_optimizer": 0.4, "failure_source": 0.25}
WRONG: Final = 10
#: Four networks, and what they lack.
EXAMPLES: Final = Path(__file__).parent.parent / "examples" / "networks.py"
LACKS: Final = {
    "slow": "a rate of 1e-4",
    "few": "60 examples",
    "narrow": "two hidden units a layer",
    "fine": "nothing of it",
}

Found = dict[tuple[str, bool, str], LeftOut]


def columns_of(extent: str, pool: Pool) -> tuple[str, ...]:
    """Return the columns that are looked at where an extent was measured in full."""
    there = [name for family in EXTENTS[extent] for name in FAMILIES[family].columns("checkpoint", "configuration")]
    row = pd.DataFrame([{name: 1.0 for name in there if name in pool.rows}])
    return known(row, pool.rows)


def named(extent: str, seeds: bool) -> str:
    return f"`{extent}`, {'several seeds' if seeds else 'one network'}"


def page(found: Found, pools: dict[bool, Pool], figure: str) -> Iterator[str]:
    """Yield the lines of the page."""
    zoos = {zoo: group for of in pools[False].groups.values() for zoo, group in of.items()}
    groups = len(set(pools[False].groups[ASKED[0]].values()))
    yield from (
        "# How much to believe a diagnosis",
        "",
        "`mdbench diagnose` asked about every zoo of this package in turn, after learning from all others, "
        "its kin left out: the "
        "same columns, the same judge, with temperature and threshold from the other groups alone. Written by "
        "`python benchmarks/diagnose.py`, which says how.",
        "",
        "A network counts where its lack is clear: more than the noise of seeds and of test examples. Shares "
        f"are means over {len(zoos)} zoos, intervals are Student's over zoos ({groups} groups of kin, so they are rather too "
        "narrow). What is right of what was answered counts a zoo by how much of it was answered. Zoos differ more than "
        "networks do: an interval that reaches from half to everything is what is known of the next zoo.",
        "",
        "What answers was chosen on seven of these very zoos, of twelve (trees, the committee, both; learning from "
        "all verdicts or from clear "
        "ones; calibrated on either): they were looked at once for that, and once more for the rule about "
        "networks that lie far beyond all others. "
        "The figures are a little too good by it. `convection-pinn`, `shapes-unet`, `text-lm` and `fashion-wide` came later, "
        "and chose nothing.",
        "",
        "| measured | task | right, whatever was said | answered | right, of what was answered |",
        "|---|---|---|---|---|",
    )
    for extent, seeds in ASKED_OF:
        for task in ASKED:
            said = reliability_of(pools[seeds], found[extent, seeds, task])
            right = "–" if said.right is None else percent(said.right)
            hint = " (a hint)" if task in HINTS else ""
            yield (
                f"| {named(extent, seeds)} | `{task}`{hint} | {percent(said.accuracy)} | {percent(said.answered)} | "
                f"{right} |"
            )
    yield from ("", f"![Reliability]({figure})", "", "## What was aimed at", "")
    yield from goals(found, pools)
    yield from ("", f"## Zoo by zoo: {named(*SHOWN)}", "")
    yield from by_zoo(found, pools)
    yield from ("", "## The surest that were wrong", "")
    yield from wrong(found, pools)
    yield from ("", "## A zoo of other data", "")
    yield from other_data()
    yield from ("## Four small networks", "")
    yield from four()


def goals(found: Found, pools: dict[bool, Pool]) -> Iterator[str]:
    """Yield what was reached of the goals."""
    extent, seeds = SHOWN
    for task, wanted in GOALS.items():
        said = reliability_of(pools[seeds], found[extent, seeds, task])
        right = 0.0 if said.right is None else said.right.value
        reached = said.answered.value >= wanted and right >= calibration.WANTED
        worse = [
            f"`{one.zoo}` ({one.clear_right_answered} of {one.clear_answered} right, "
            f"{one.clear_answered / one.clear:.0%} answered)"
            for one in said.zoos
            if one.clear_answered / one.clear < wanted
            or one.clear_right_answered < calibration.WANTED * one.clear_answered
        ]
        yield (
            f"- `{task}`: {wanted:.0%} answered, {calibration.WANTED:.0%} of it rightly: "
            f"**{'reached' if reached else 'not reached'}** ({said.answered.value:.0%} answered, {right:.0%} of it rightly). "
            f"Zoos where it fails: {', '.join(worse) or 'none'}."
        )


def by_zoo(found: Found, pools: dict[bool, Pool]) -> Iterator[str]:
    """Yield a table for each task."""
    extent, seeds = SHOWN
    for task in ASKED:
        own = found[extent, seeds, task]
        said = reliability_of(pools[seeds], own)
        zoos = pools[seeds].rows["zoo"].to_numpy()[own.rows.at]
        rows = [
            (
                code(one.zoo),
                one.networks,
                f"{one.right / one.networks:.0%}",
                one.clear,
                f"{one.clear_right / one.clear:.0%}",
                _threshold(own.thresholds[zoos == one.zoo][0]),
                f"{one.clear_answered / one.clear:.0%}",
                f"{one.clear_right_answered / one.clear_answered:.0%}" if one.clear_answered else "–",
                f"{one.right_answered / one.answered:.0%}" if one.answered else "–",
            )
            for one in said.zoos
        ]
        head = ("zoo", "networks", "right", "clear", "right", "from", "answered", "right of these", "of all answered")
        yield from (f"`{task}`:", "", table(head, rows, "lrrrrrrrr"), "")


def _threshold(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "never"


def wrong(found: Found, pools: dict[bool, Pool]) -> Iterator[str]:
    """Yield the surest wrong answers of clear networks, with what is known of why."""
    extent, seeds = SHOWN
    pool = pools[seeds]
    rows = []
    for task in (task for task in ASKED if task not in HINTS):
        own = found[extent, seeds, task]
        rows += [(own.sure[at], task, at) for at in np.flatnonzero(~own.hit & own.rows.clear)]
    yield from (
        "Of clear networks, over the three tasks that are answered. Beyond: coordinates outside of what all "
        "others had, in their "
        "standard deviations. Margin: by how much the right move helps more, in points of test error.",
        "",
    )
    cells = []
    for sure, task, at in sorted(rows, key=lambda row: -row[0])[:WRONG]:
        own = found[extent, seeds, task]
        place = own.rows.at[at]
        zoo, name = (str(pool.rows[column].iloc[place]) for column in ("zoo", "configuration"))
        group = pool.groups[task]
        others = pool.rows[[group.get(one) != group[zoo] for one in pool.rows["zoo"]]]
        beyond = outside(pool.rows.iloc[[place]], others, columns_of(extent, pool))
        classes = find_task(task).classes
        cells.append(
            (
                code(zoo),
                code(name),
                code(classes[int(own.probabilities[at].argmax())]),
                f"{sure:.0%}{'' if own.answered[at] else ' (no answer)'}",
                code(classes[own.rows.right[at]]),
                f"{pool.zoos[zoo].configurations.loc[name, f'{task}_margin']:.2f}",
                ", ".join(f"{code(one.coordinate)} {one.beyond:.1f}" for one in beyond) or "–",
            )
        )
    yield table(("zoo", "network", "said", "sure", "right", "margin", "beyond"), cells, "lllrlrl")
    yield from ("", WHY, "")


#: What was found by looking at them, one by one.
WHY: Final = """\
Looked at one by one:

- `convection-pinn` is the only zoo of equations. At 10 or 30 % of the points these networks solve the equation where they
  are asked, with a small loss, and have an error of 114 to 158 % elsewhere, more than a network that says zero. One that
  hardly trained has 100 %, so that a smaller rate is what helps, by 21 to 54 points, though nothing of their landscape
  says that the temperature was too high. One that lies more than two standard deviations beyond all others is not
  answered; none of these four does.
- `digits-adamw` is the only zoo of AdamW, and decay shrinks its weights: with `weight_decay=10` and width 4 networks have
  learned little at any rate, and are of little curvature, which elsewhere means a temperature that is too low.
- `mnist1d-cnn` with width 24 or 32 and all of the data: the right move helps by 0.3 to 0.6 points more, clear of noise and
  of little weight.
- `text-lm` is the only zoo of transformers: of three rates the middle one is asked about, and the smallest is better by 1.5
  points. Its training loss is not small, which elsewhere means that a larger rate would help.
- `teacher-wide`: one step too large, and the loss is in the tens of thousands. It lies far beyond all others, and is not
  answered.
"""


def other_data() -> Iterator[str]:
    """Yield what is said of the networks of `benchmarks/foreign.py`."""
    with tempfile.TemporaryDirectory() as folder:
        yield from foreign.page(foreign.asked(foreign.made(Path(folder), executors.local(1, ["cpu"]))))


def four() -> Iterator[str]:
    """Yield what is said of the networks of the examples."""
    yield from (
        "Perceptrons on scikit-learn's digits, trained by the plain loop of `examples/networks.py`, and asked about with "
        "`--quick`, one seed each:",
        "",
        "| network | what is the matter | training error | test error | said |",
        "| --- | --- | ---: | ---: | --- |",
    )
    with tempfile.TemporaryDirectory() as folder:
        spec = importlib.util.spec_from_file_location("networks", shutil.copy(EXAMPLES, folder))
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(examples := importlib.util.module_from_spec(spec))
        for name, lack in LACKS.items():
            examples.train(name)
            network = getattr(examples, name)()
            network.load_state_dict(torch.load(Path(folder, f"{name}.pt"), weights_only=True))
            train, test = examples.few_data() if name == "few" else examples.data()
            asked = diagnose(network, train=train, test=test, extent="quick").diagnosis
            errors = " | ".join(f"{asked.measured[f'{side}_error']:.1f}%" for side in ("train", "test"))
            yield f"| `{name}` | {lack} | {errors} | {headline(asked)} |"
    yield from (
        "",
        "`slow` and `few` are right. `narrow` needs width, which is never an answer, only a hint: there is none, and the "
        "hint about its temperature is wrong. `fine` shows that no verdict says that nothing is wrong: of what could be "
        "asked for, the most useful is said, and its test error says how little that is.",
        "",
    )


def draw(found: Found, path: Path) -> None:
    """Draw how often answers were right, by how sure they were."""
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, len(ASKED), figsize=(10.5, 3.2), sharey=True, layout="constrained")
        for panel, task in zip(panels, ASKED, strict=True):
            panel.plot([0.25, 1], [0.25, 1], color="#8C8C8C", lw=0.8, ls=":")
            for (extent, seeds), colour, marker in zip(ASKED_OF, COLOURS[1:], MARKERS, strict=False):
                own = found[extent, seeds, task]
                clear = own.rows.clear
                bins = calibration.reliability(own.sure[clear], own.hit[clear], EDGES)
                said, right = np.array([one.said for one in bins]), np.array([one.right for one in bins])
                band = np.array([[one.right - one.low for one in bins], [one.high - one.right for one in bins]])
                label = f"{extent}, {'several seeds' if seeds else 'one network'}"
                panel.errorbar(
                    said,
                    right,
                    np.maximum(band, 0),
                    color=colour,
                    marker=marker,
                    ms=4,
                    lw=1,
                    elinewidth=0.7,
                    label=label,
                )
            panel.set_title(task)
            panel.set_xlabel("probability that was said")
            panel.set_ylim(0, 1.02)
        panels[0].set_ylabel("share that was right")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        figure.savefig(path, dpi=130)
        plt.close(figure)


def main() -> None:
    """Ask, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/diagnose.md"), help="the page")
    asked = parser.parse_args()
    pools = {seeds: bundled_pool(seeds) for seeds in (False, True)}
    found: Found = {}
    for extent, seeds in ASKED_OF:
        columns = columns_of(extent, pools[seeds])
        for task in ASKED:
            _, found[extent, seeds, task] = leave_out(pools[seeds], find_task(task), columns)
            print(extent, seeds, task, flush=True)
    figure = asked.out.with_suffix(".png")
    draw(found, figure)
    text = "\n".join(page(found, pools, figure.name))
    asked.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
