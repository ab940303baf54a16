"""What people see on the terminal."""

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from math import isnan
from operator import itemgetter
from pathlib import Path

import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mdbench.cases import Case, selections
from mdbench.methods import CHECKS, WANTS_COLUMN, Checked, MethodError, alternatives, load_method, named_methods
from mdbench.scoring import RULES, CaseRecord, Comparison, Failure, IntervalRecord, Prescriptions, Result, Score
from mdbench.tables import COLUMNS, TASKS, VISIBLE_FAMILIES, Family, zoo_names

#: Above so many cases, one line a case takes the place of one table a case.
DETAILED = 10
#: Methods that stand side by side there.
ACROSS = 5
#: The smallest p that is shown as a number.
P_SHOWN = 0.001
_NUMBER = re.compile(r"\d+(\.\d+)?(e[-+]?\d+)?")


def console(*, stderr: bool = False) -> Console:
    """Return where people are told something."""
    own = Console(stderr=stderr, highlight=False)
    # A pipe has no width of its own; tables must not be cut to 80 columns there.
    return own if own.is_terminal else Console(stderr=stderr, highlight=False, width=140)


def say(text: str) -> None:
    """Print one line of plain text."""
    console().print(escape(text), soft_wrap=True)


def plain_table(**options: object) -> Table:
    """Return an empty table, without lines."""
    return Table(box=None, pad_edge=False, header_style="dim", title_justify="left", title_style="bold", **options)  # type: ignore[arg-type]


def put(out: Console, table: Table) -> None:
    """Print a table; where a terminal is too narrow for it, the terminal breaks its lines, and nothing is cut."""
    for column in table.columns:
        heads = [] if column.overflow == "fold" else [column.header]
        lines = [line for cell in [*heads, *column.cells] for line in Text.from_markup(str(cell)).plain.splitlines()]
        texts = lines if column.no_wrap else [word for line in lines for word in line.split()]
        column.min_width = max(map(cell_len, texts), default=1)
    needed = sum((column.min_width or 0) + 2 for column in table.columns)
    wide = Console(highlight=False, width=needed) if needed > out.width else out
    wide.print(table, crop=False)


def _named(method: str, own: Sequence[str]) -> str:
    return f"[bold cyan]{escape(method)}[/]" if method in own else escape(method)


def show_result(result: Result, own: Sequence[str] = ()) -> None:
    """Print the scores of a result; the methods in `own` stand out."""
    out = console()
    if not result.scores:
        return
    by_case = {case.case.name: [s for s in result.scores if s.case == case.case.name] for case in result.cases}
    detail = (
        f", mean ± std over the case's seeds; {result.level:.0%} interval: Student's, over training samples (seeds); where "
        "these change nothing, over test grid cells"
    )
    if len(result.cases) <= DETAILED:
        for record in result.cases:
            if by_case[record.case.name]:
                put(out, _case_table(record, by_case[record.case.name], own))
                out.print()
                _show_sureness([[score] for score in by_case[record.case.name]], own)
    else:
        for table in _wide_tables(result, own):
            put(out, table)
            out.print()
    if len(result.cases) > 1:
        for shared, lines in _shared(result, [method.name for method in result.methods]):
            put(out, _overall_table(result, lines, shared, own))
            out.print()
    if len(result.cases) > DETAILED:
        sure = dict.fromkeys(score.method for score in result.scores if score.probability or score.coverage < 100)
        for shared, lines in _shared(result, list(sure)):
            _show_sureness(lines, own, f", over {_about(result, shared)}")
    out.print(
        "[dim]above chance in %: the mean recall of the verdicts, 0 where one is said always, 100 where all are right"
        f"{_rare(result)}; accuracy in %{detail if len(result.cases) <= DETAILED else ''}\n"
        f"{len(result.scores)} scores in {result.seconds:.1f} s[/]"
    )


def _rare(result: Result) -> str:
    """Say how many cases have verdicts that are too rare to count, if any."""
    cases = [record for record in result.cases if record.rare]
    if not cases:
        return ""
    where = cases[0].case.name if len(cases) == 1 else f"{len(cases)} cases"
    return f" (verdicts that under 5 % of the rows have are not counted, in {escape(where)})"


def _case_table(record: CaseRecord, scores: Sequence[Score], own: Sequence[str]) -> Table:
    case = record.case
    rows = sorted({split.train_rows for split in record.splits})
    train = f"{rows[0]}–{rows[-1]}" if len(rows) > 1 else f"{rows[0]}"
    table = plain_table(
        title=f"{escape(case.name)}\n[not bold dim]{TASKS[case.task].question} Trained on {escape(case.drawn)}: "
        f"{train} rows of {escape(', '.join(case.train_zoos))}; tested on {record.test_rows:,} of {escape(case.test)}.[/]"
    )
    for name, justify in (
        ("#", "right"),
        ("method", "left"),
        ("above chance", "right"),
        ("95 % interval", "center"),
        ("accuracy", "right"),
        ("± std", "right"),
        ("95 % interval", "center"),
        ("sees", "left"),
    ):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for score in scores:
        table.add_row(
            str(score.rank),
            _named(score.method, own),
            _number(score.above_chance),
            _interval(score.above_chance_interval),
            f"{score.accuracy:.2f}",
            f"{score.accuracy_std:.2f}",
            _interval(score.accuracy_interval),
            _sees(score.families),
        )
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _interval(interval: IntervalRecord | None) -> str:
    return "–" if interval is None else rf"\[{interval.low:.1f}, {interval.high:.1f}]"


def _show_sureness(groups: Sequence[Sequence[Score]], own: Sequence[str], about: str = "") -> None:
    """Print how sure methods are, and whether that is deserved, where some give probabilities or abstain.

    Parameters
    ----------
    groups : the scores of each method on the same cases, means over which are shown.
    own : methods that stand out.
    about : which cases these are, for the title.
    """
    sure = [some for some in groups if some and all(score.probability for score in some)]
    abstaining = [some for some in groups if any(score.coverage < 100 for score in some)]
    lines = [some for some in groups if some in sure or some in abstaining]
    if not lines:
        return
    table = plain_table(title=escape(f"how sure, and whether that is deserved{about}"))
    table.add_column("method", no_wrap=True)
    heads = ("log loss", "Brier score", "calibration error", "risk–coverage", "surer half", "95 % right")
    for head in (*heads, "answered", "of these right"):
        table.add_column(head, justify="right")
    best = min(
        (np.mean([score.probability.log_loss for score in some if score.probability]) for some in sure), default=0
    )
    for some in sorted(lines, key=lambda some: (some not in sure, some[0].method)):
        given = [score.probability for score in some if score.probability] if some in sure else []
        cells = ["–"] * 6
        if given:
            errors = [one.calibration_error for one in given if one.calibration_error is not None]
            mean_loss = np.mean([one.log_loss for one in given])
            cells = [
                f"[bold]{mean_loss:.3f}[/]" if mean_loss == best else f"{mean_loss:.3f}",
                f"{np.mean([one.brier_score for one in given]):.3f}",
                f"{np.mean(errors):.1f}" if errors else "–",
                f"{np.mean([one.risk_coverage_area for one in given]):.1f}",
                f"{np.mean([one.accuracy_at_half for one in given]):.1f}",
                f"{np.mean([one.coverage_at_95 for one in given]):.1f}",
            ]
            if len(some) == 1:
                low, high = given[0].log_loss_interval.low, given[0].log_loss_interval.high
                cells[0] += rf" \[{low:.2f}, {high:.2f}]"
                low, high = given[0].brier_score_interval.low, given[0].brier_score_interval.high
                cells[1] += rf" \[{low:.2f}, {high:.2f}]"
        answered, right = (float(np.mean(said)) for said in zip(*((s.coverage, s.accuracy) for s in some), strict=True))
        cells += [f"{answered:.1f}", f"{100 * right / answered:.1f}" if answered else "–"]
        table.add_row(_named(some[0].method, own), *cells)
    alone = ", with 95 % intervals" if any(len(some) == 1 for some in sure) else ""
    out = console()
    put(out, table)
    out.print(
        f"[dim]log loss in nats, Brier score from 0 to 2{alone}; calibration error in points, "
        "over ten bins of equal width; risk–coverage: mean error in % over all shares answered, the surest first; "
        "accuracy in % on the surer half; share in % on which 95 % are right; share answered in %, and of these "
        "the share that is right; an abstention is not, in any other number[/]\n"
    )


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= P_SHOWN else f"< {P_SHOWN:g}"


def _sees(families: Iterable[str]) -> str:
    # That a method looks at the training configuration, which diagnosis presumes unknown, must strike the eye.
    marked = [f"[yellow]{family}[/]" if family == Family.CONFIGURATION else family for family in families]
    return ", ".join(marked) or "nothing"


def _wide_tables(result: Result, own: Sequence[str]) -> Iterator[Table]:
    """Yield tables with a line a case and a column a method, so many side by side as a terminal has room for."""
    names = [method.name for method in result.methods]
    for start in range(0, len(names), ACROSS):
        yield _wide_table(result, own, names[start : start + ACROSS])


def _wide_table(result: Result, own: Sequence[str], names: Sequence[str]) -> Table:
    table = plain_table(title="above chance in %, one line a case")
    table.add_column("case", no_wrap=True)
    for name in names:
        table.add_column(_named(name, own), justify="right", overflow="fold")
    scores = {(score.method, score.case): score for score in result.scores}
    for _, records in groupby(result.cases, key=lambda record: record.case.sweep):
        for record in records:
            cells = [scores.get((name, record.case.name)) for name in names]
            table.add_row(
                escape(record.case.name),
                *(
                    "–" if not c else f"[bold]{_number(c.above_chance)}[/]" if c.rank == 1 else _number(c.above_chance)
                    for c in cells
                ),
            )
        table.add_section()
    return table


def _shared(result: Result, names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], list[list[Score]]]]:
    """Yield each set of cases that is all that some method answers, the largest first, and the scores on it.

    Means over different cases cannot be compared: the scores are of all methods that answer all of these cases.
    """
    scores = {(score.method, score.case): score for score in result.scores}
    cases = [record.case.name for record in result.cases]
    answered = {name: tuple(case for case in cases if (name, case) in scores) for name in names}
    for shared in sorted(set(answered.values()) - {()}, key=lambda some: (-len(some), some)):
        methods = [name for name, some in answered.items() if set(shared) <= set(some)]
        yield shared, [[scores[name, case] for case in shared] for name in methods]


def _about(result: Result, shared: Sequence[str]) -> str:
    """Say which of a result's cases some are."""
    tasks = dict.fromkeys(record.case.task for record in result.cases if record.case.name in shared)
    count = f"{len(shared)} case{'s' if len(shared) > 1 else ''}"
    if len(shared) == len(result.cases):
        return f"all {count}"
    if any(record.case.task in tasks and record.case.name not in shared for record in result.cases):
        return f"{count} that these all answer: {', '.join(shared)}"
    return f"the {count} of {', '.join(tasks)} that these all answer"


def _overall_table(
    result: Result, lines: Sequence[Sequence[Score]], shared: Sequence[str], own: Sequence[str]
) -> Table:
    """Return means over the cases that all of these methods answered; `lines` holds the scores of each."""
    table = plain_table(title=f"over {escape(_about(result, shared))}")
    for name, justify in (
        ("method", "left"),
        ("above chance", "right"),
        ("accuracy", "right"),
        ("mean rank", "right"),
        ("sees", "left"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    balanced = np.array([[score.balanced_accuracy for score in line] for line in lines])
    ranks = 1 + (balanced[None] > balanced[:, None]).sum(axis=1).mean(axis=1)
    known = [[score.above_chance for score in line if score.above_chance is not None] for line in lines]
    means = [float(np.mean(values)) if values else None for values in known]
    for place in np.argsort([-np.inf if mean is None else -mean for mean in means], kind="stable"):
        line = lines[place]
        table.add_row(
            _named(line[0].method, own),
            _number(means[place]),
            f"{np.mean([score.accuracy for score in line]):.2f}",
            f"{ranks[place]:.1f}",
            _sees(sorted({family for score in line for family in score.families})),
        )
    return table


def show_comparison(comparison: Comparison) -> None:
    """Print a comparison of two methods."""
    out = console()
    table = plain_table(title=f"{escape(comparison.a)} − {escape(comparison.b)}")
    for name, justify in (
        ("case", "left"),
        (comparison.a, "right"),
        (comparison.b, "right"),
        ("difference", "right"),
        ("95 % interval", "center"),
        ("p", "right"),
        ("df", "right"),
    ):
        wraps = name in (comparison.a, comparison.b)  # names are long, numbers below them short
        table.add_column(escape(name), justify=justify, no_wrap=not wraps, overflow="fold")  # type: ignore[arg-type]
    means = [comparison.overall, *([comparison.over_zoos] if comparison.over_zoos else [])]
    for place, one in enumerate([*comparison.cases, *means]):
        if place == len(comparison.cases):
            table.add_section()
        d = one.difference
        decided = d.interval.low > 0 or d.interval.high < 0
        style = ("green" if d.estimate > 0 else "red") if decided else "dim"
        table.add_row(
            escape(one.case),
            f"{one.a:.2f}",
            f"{one.b:.2f}",
            f"[{style}]{d.estimate:+.2f}[/]",
            f"[{d.interval.low:+.2f}, {d.interval.high:+.2f}]".replace("[", r"\["),
            _p(d.p),
            "–" if isnan(one.degrees) else f"{one.degrees:.3g}",
        )
    put(out, table)
    zoos = comparison.over_zoos
    over_zoos = (
        f"{zoos.case}: about other zoos, Student's interval and p over these, each of one weight; " if zoos else ""
    )
    measure = "accuracy" if comparison.measure == "accuracy" else "balanced accuracy above chance"
    out.print(
        f"\n[dim]{measure} in %, difference in points; on the test rows of this grid, over training samples, which both "
        "methods share: Student's interval and p of the paired differences (df: degrees of freedom); where samples do not "
        f"differ or change nothing, over test grid cells; {over_zoos}p: two-sided, of this one "
        "comparison, corrected for nothing; the board compares all pairs and corrects for their number by Holm, so that it "
        "may not tell apart what is told apart here[/]"
    )
    corrected = comparison.corrected
    if corrected:
        of = f"{corrected.pairs} pair{'s' * (corrected.pairs > 1)} of {', '.join(corrected.methods)}"
        p = f"p {'' if corrected.p < P_SHOWN else '= '}{_p(corrected.p)} over all"
        left = "" if corrected.pairs > 1 else "; no other method answers all of these cases"
        out.print(f"corrected as the board does, for the {escape(of)}: {p}{left}")
    else:
        out.print("[dim]--among NAMES corrects as the board does, for all pairs among some methods[/]")


def show_prescriptions(prescriptions: Prescriptions, own: Sequence[str] = ()) -> None:
    """Print what following diagnoses gains."""
    out = console()
    for one in prescriptions.cases:
        turned = ", ".join(dict.fromkeys(one.knobs.values()))
        instead = f", never {', '.join(one.instead)} (--knob)" if one.instead else ""
        table = plain_table(
            title=f"{escape(one.case.name)}\n[not bold dim]One move after each diagnosis of {one.test_rows:,} models of "
            f"{escape(one.case.test)}, by {turned}{instead}: test accuracy gained, in points.[/]"
        )
        table.add_column("diagnosis")
        for rule in RULES:
            table.add_column(f"{rule} step", justify="right", no_wrap=True)
            table.add_column("95 % interval", justify="center", no_wrap=True)
            table.add_column("unclipped", justify="right", no_wrap=True)
        for name, gains in groupby(one.gains, key=lambda gain: gain.diagnosis):
            cells = []
            for gain in gains:
                cells += [f"{gain.mean:.2f} ± {gain.std:.2f}", rf"\[{gain.interval.low:.2f}, {gain.interval.high:.2f}]"]
                cells.append(f"{gain.unclipped:+.2f}")
            label = f"[dim]{name}[/]" if name in ("best possible", "random") else _named(name, own)
            table.add_row(label, *cells)
        put(out, table)
        out.print()
    if prescriptions.cases:
        out.print(
            "[dim]one: to the next grid value; random: to a uniform choice among the values in that direction (expectation); "
            "optimal: to the best of them; a loss counts as 0, unclipped: as a loss; "
            "best possible: the best move by each rule, by "
            "whatever knob, or none where all lose\n"
            "± std over the case's seeds; interval: Student's, over training samples (seeds); where these change nothing, "
            "over test grid cells[/]"
        )


def show_left_out(failures: Sequence[Failure], unasked: Collection[str]) -> list[Failure]:
    """Say which of some methods a zoo has not the columns for, and return the other failures."""
    left_out = {
        failure.method: failure.reason
        for failure in failures
        if failure.method in unasked and failure.reason.startswith(WANTS_COLUMN)
    }
    for method, reason in left_out.items():
        console().print(f"[dim]{escape(str(method))} is left out: {escape(reason)}[/]", soft_wrap=True)
    return [failure for failure in failures if left_out.get(failure.method) != failure.reason]


def show_failures(failures: Sequence[Failure]) -> None:
    """Print what failed, to stderr: one line for all that differ by numbers alone, with the first traceback."""
    out = console(stderr=True)
    alike: dict[tuple[str, ...], list[Failure]] = {}
    for failure in failures:
        texts = [(text or "").replace(failure.case or "\0", "") for text in (failure.reason, failure.traceback)]
        alike.setdefault((failure.method or "", *(_NUMBER.sub("", text) for text in texts)), []).append(failure)
    for group in alike.values():
        method, reason, traceback = group[0].method, group[0].reason, group[0].traceback
        cases = [failure.case for failure in group if failure.case]
        where = cases[0] + (f" and {len(cases) - 1} more" if len(cases) > 1 else "") if cases else ""
        subject = ", ".join(filter(None, (f"method {method}" if method else "", f"case {where}" if where else "")))
        said = reason.removeprefix(f"case {cases[0]}: ") if cases else reason.removeprefix(f"{method}.py: ")
        out.print(f"[red]error:[/] {escape(subject)}: {escape(said)}", soft_wrap=True)
        if traceback:
            out.print(escape("\n".join(f"    {line}" for line in traceback.splitlines())), soft_wrap=True, style="dim")


def show_methods() -> None:
    """Print the methods known by name. Their files are run: they are installed packages."""
    table = plain_table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, file in named_methods().items():
        try:
            method = load_method(file)
        except MethodError as error:
            table.add_row(name, f"[red]{escape(str(error))}[/]")
            continue
        tasks = (
            "every task" if method.columns is None or set(method.columns) == set(TASKS) else ", ".join(method.columns)
        )
        wanted = {column for columns in (method.columns or {}).values() for column in columns}
        used = {name for column in wanted for name in alternatives(column)}
        families = dict.fromkeys(COLUMNS[column].family for column in COLUMNS if column in used)
        kind = "not trained" if method.zero_shot else method.track
        about = f"[dim]answers {tasks}; {kind}; sees[/] {_sees(families)}"
        table.add_row(f"[bold]{name}[/]", f"{escape(_first_line_of_docstring(file))}\n{about}")
    put(console(), table)


def _first_line_of_docstring(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def show_cases(cases: Sequence[Case]) -> None:
    """Print cases, one line for sweeps that differ by their task alone, and the selections."""
    out = console()
    table = plain_table(title="sweeps: a case is SWEEP/BUDGET, with one of the tasks for TASK")
    for name in ("sweep", "tasks", "budgets", "seeds", "training rows"):
        table.add_column(name, no_wrap=name == "sweep")
    lines = []
    for sweep, group in groupby(cases, key=lambda case: case.sweep):
        first, *more = group
        budgets = ", ".join(case.budget_text for case in (first, *more))
        about = first.about if more else first.drawn
        lines.append((first.task, (sweep.replace(first.task, "TASK"), budgets, str(len(first.seeds)), about)))
    for (sweep, *rest), alike in groupby(lines, key=itemgetter(1)):
        task, *others = (task for task, _ in alike)
        name = sweep if others else sweep.replace("TASK", task)
        table.add_row(escape(name), ", ".join((task, *others)), *map(escape, rest))
    put(out, table)
    out.print()
    table = plain_table(title="selections")
    table.add_column("name")
    table.add_column("cases")
    for name, patterns in selections().items():
        table.add_row(escape(name), escape("\n".join(patterns)))
    put(out, table)
    out.print(f"\n[dim]zoos on this machine: {escape(', '.join(zoo_names()) or 'none')}[/]")


def show_columns() -> None:
    """Print the schema, a paragraph a column: some names are too long for a table that fits a terminal."""
    out = console()
    for column in COLUMNS.values():
        seen = "every method" if column.family in VISIBLE_FAMILIES else "no method"
        if column.reveals_label or column.relative:
            seen = f"{'inductive' if column.reveals_label else 'transductive'} methods"
        facts = [column.family.value, f"seen by {seen}"]
        if column.unit:
            facts.insert(0, f"in {column.unit}" if column.unit != "1" else "a number")
        if column.needs:
            facts.append(f"needs {', '.join(column.needs)}")
        out.print(f"[bold]{column.name}[/]")
        out.print(Padding(f"[dim]{escape('; '.join(facts))}[/]", (0, 0, 0, 4)))
        out.print(Padding(escape(column.meaning), (0, 0, 0, 4)))


def show_checks(checks: Sequence[Checked]) -> bool:
    """Print a line a check, what was wrong below it; return whether all hold."""
    out = console()
    for one in checks:
        mark = "[red]✗[/]" if one.reason else "[green]✓[/]"
        out.print(f"{mark} {one.name}{': ' if one.reason else ''}{escape(one.reason)}", soft_wrap=True)
        if one.traceback:
            out.print(
                escape("\n".join(f"    {line}" for line in one.traceback.splitlines())), soft_wrap=True, style="dim"
            )
    left = len(CHECKS) - len(checks)
    if left:
        out.print(f"[dim]{left} more checks were not run[/]")
    return not any(one.reason for one in checks)
