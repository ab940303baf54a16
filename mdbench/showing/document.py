"""Methods × cases as a document: what was asked, how far the answers can be told apart, and where they cannot.

The same command, on the same zoos, methods, packages and revision of mdbench, gives the same text to the byte: nothing in it
is a time, or of the machine, except that kinds of processors may round differently.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from mdbench.cases import Case, load_cases
from mdbench.revision import own_revision
from mdbench.scoring import Difference, Evaluated, Failure
from mdbench.showing.bounds import out_of_bounds
from mdbench.showing.markdown import code, table
from mdbench.showing.means import (
    above_chance,
    comparable,
    configured,
    grouped,
    mean,
    methods_of,
    ordered,
    outside_noise,
    posed_of,
    ranks_of,
    sees,
)
from mdbench.showing.others import means_of, zoos_nobody_trained_on
from mdbench.showing.sureness import how_sure
from mdbench.tables import COLUMNS, TASKS, Family, Zoo, decided

#: How every such document begins; a file that begins otherwise is somebody else's.
MARK: Final = "<!-- Written by `mdbench tabulate`, which replaces this file and its figure when it is run again. -->"
#: The parts of the document where nothing is said: each a selection, a sweep, a case or a pattern.
PARTS: Final = ("unseen", "bundled", "paper", "levels", "*-to-cifar10-resnet18/*")
HEADLINE: Final = "sisters"
#: What is said of a part above its tables.
ABOUT: Final = {
    "paper": "The seven published cases are of one pair of zoos, and say nothing of others.",
    "levels": "Two of the seven learn from one level that is drawn; of five seeds, three draw the same. Here each level is "
    "learned from by turns, and the mean is over all of them.",
}
#: Whose advantage is looked into, and over whom.
SUBJECT: Final = "md_tree"
RIVALS: Final = ("validation_tree", "hyperparameter_validation_tree", "majority", "barrier_rule", "md_tree_quantile")
#: The rival whom everybody must beat.
FLOOR: Final = "majority"


def compose(found: Evaluated, parts: Sequence[str], command: str, picture: str | None = None) -> str:
    """Return the document.

    Parameters
    ----------
    found : methods × cases.
    parts : the names under which the cases were wanted; a case stands in the first that it belongs to.
    command : what was typed to make it.
    picture : file name of the figure.
    """
    by_part = _by_part([one.rows.case for one in found.posed], parts)
    blocks = [
        MARK,
        "# Results",
        *_made(found, command),
        *zoos_nobody_trained_on(found),
        *([f"![Above chance, with intervals]({picture})"] if picture else []),
        *_headline(found),
        *how_sure(found, _headliners(found)),
        *_seed_noise(found),
        *(out_of_bounds(_zoos(found)) if SUBJECT in methods_of(found) else []),
        *_advantage(found, by_part),
        "## Every case",
        "Accuracy and its interval. **Bold**: the best of a case, and every method whose paired difference "
        "from it has an interval that holds 0; – was not answered. The mean is given where every case was.",
        *(block for name, cases in by_part.items() for block in _part(found, name, cases)),
        *_failed(found.result.failures),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _headliners(found: Evaluated) -> list[Case]:
    core = {case.name for case in load_cases(HEADLINE)}
    return [one.rows.case for one in found.posed if one.rows.case.name in core]


def _by_part(cases: Sequence[Case], parts: Sequence[str]) -> dict[str, list[Case]]:
    left = {case.name: case for case in cases}
    by_part = {}
    for part in parts:
        mine = {case.name for case in load_cases(part)}
        by_part[part] = [left.pop(name) for name in list(left) if name in mine]
    return {part: cases for part, cases in by_part.items() if cases}


def panels_of(found: Evaluated) -> dict[tuple[str, str], dict[str, Difference]]:
    """Return scenario and task → method → what it has above chance: over zoos, and on each of the headline."""
    panels = {("unseen", task): means for task, means in means_of(found).items()}
    for group, cases in grouped(_headliners(found)).items():
        means = {method: above_chance(found, [case.name for case in cases], method) for method in methods_of(found)}
        panels[group] = {method: mean for method, mean in means.items() if mean}
    return {group: means for group, means in panels.items() if means}


def _made(found: Evaluated, command: str) -> list[str]:
    here, revision = found.result.environment, own_revision()
    packages = ", ".join(f"{name} {version}" for name, version in here.packages.items())
    zoos = [(code(zoo.name), zoo.rows, f"`{zoo.sha256}`") for zoo in found.result.zoos]
    return [
        f"Made by {code(command)} with mdbench {here.mdbench}"
        + (f", revision `{revision}`" if revision else "")
        + f", Python {here.python}, {packages}.",
        table(("zoo", "configurations", "digest (SHA-256)"), zoos, "lrl"),
        f"Numbers are in %. An interval is to cover {100 * found.result.level:.0f} %, and is about one of two things. *Other "
        "zoos*: Student's interval of a mean over zoos. "
        "*This grid*: other training samples, the same test rows, which are no random sample of anything; Student's "
        "interval of a mean over training samples. Where these change nothing, it is one over the test zoo's grid cells "
        "(rows that differ in the temperature's knobs alone), the cases on one test zoo together. How often such intervals "
        "hold what they are about was measured on these zoos: `docs/intervals.md` of mdbench. Nothing is corrected "
        "for the number of comparisons. In a mean every case has the same weight.",
        _unposed(found.result.failures),
    ]


def _unposed(failures: Sequence[Failure]) -> str:
    """Say which cases could not be posed, and why, in one sentence."""
    by_reason: dict[str, list[str]] = {}
    for failure in failures:
        if failure.method is None and failure.case:
            # Which zoos are on the machine at hand is of no interest here.
            reason = failure.reason.partition(";")[0].removeprefix(f"case {failure.case}: ")
            by_reason.setdefault(reason, []).append(failure.case)
    said = [
        f"{code(cases[0])}{f' and {len(cases) - 1} more' if len(cases) > 1 else ''} ({code(reason)})"
        for reason, cases in by_reason.items()
    ]
    return f"Not posed: {'; '.join(said)}." if said else ""


def _headline(found: Evaluated) -> list[str]:
    cases = _headliners(found)
    if not cases:
        return []
    every_case = {case.name for case in load_cases(HEADLINE)}
    unposed = len({failure.case for failure in found.result.failures if failure.method is None} & every_case)
    unasked = len(every_case) - len(cases) - unposed
    blocks = [
        f"## The selection `{HEADLINE}`",
        f"{len(cases)} cases: {', '.join(code(case.name) for case in cases)}."
        + (f" {unposed} more of the selection could not be posed." if unposed else "")
        + (f" {unasked} more of the selection were not asked for." if unasked else ""),
        "Intervals are about *this grid*. Not every method answers every task, and only means over the same cases can be "
        "compared: there is a table for each set of tasks. *Decided* is the accuracy on those rows whose label is outside "
        "noise (below). The rank is by balanced accuracy among the methods of a table, the mean over its cases; equal ones "
        "share the better one. Methods that know the training configuration stand apart.",
    ]
    knowing = configured(found)
    for tasks, names, methods in comparable(found, cases):
        chosen = [outside_noise(one) for one in posed_of(found, names)]
        some = sum(int(mask.sum()) for mask in chosen)
        left_out = sum(not mask.any() for mask in chosen)
        every = len(tasks) == len({case.task for case in cases})
        blocks += [
            f"### {'Every task' if every else ', '.join(code(task) for task in tasks)}",
            f"{len(names)} cases, {sum(map(len, chosen)):,} rows, {some:,} of them decided"
            + (f"; {left_out} cases have none decided and are left out of that mean" if left_out else "")
            + ".",
        ]
        for apart in (False, True):
            group = [method for method in methods if (method in knowing) is apart]
            if group:
                blocks.append(_means_table(found, names, group))
    return blocks


def _means_table(found: Evaluated, cases: Sequence[str], methods: Sequence[str]) -> str:
    """Return one line a method, the best first."""
    families, records = sees(found), {method.name: method for method in found.result.methods}
    ranks = ranks_of(found, cases, methods)
    scores = {method: above_chance(found, cases, method) for method in methods}
    rows = []
    for method, accuracy in ordered(found, cases, methods):
        decided_alone, record = mean(found, cases, method, only_decided=True), records[method]
        rows.append(
            (
                code(method),
                *_with_interval(scores[method]),
                f"{accuracy.estimate:.1f}",
                _with_interval(decided_alone)[0],
                f"{ranks[method]:.1f}",
                _families(families[method]),
                "not trained" if record.zero_shot else record.track,
            )
        )
    rows.sort(key=lambda row: -float(row[1]) if row[1] != "–" else float("inf"))
    return table(
        ("method", "above chance", "interval", "accuracy", "decided", "rank", "sees", "track"), rows, "lrlrrrll"
    )


def _seed_noise(found: Evaluated) -> list[str]:
    rows, without = [], []
    for zoo in _zoos(found):
        whole = zoo.configurations
        tasks = [task for task in zoo.tasks.values() if f"{task.name}_margin_se" in whole]
        for task in tasks:
            asked = whole[whole[task.name].isin(task.classes)]
            known = asked[asked[f"{task.name}_margin_se"].notna()]
            within = int((~decided(zoo, task)[known.index]).sum())
            share = f"{100 * within / len(known):.0f} %" if len(known) else "–"
            rows.append((code(zoo.name), f"`{task.name}`", len(asked), len(known), within, share))
        if not tasks:
            without.append(code(zoo.name))
    if not rows:
        return []
    return [
        "## Labels within noise",
        "A label is the verdict with the largest room for improvement, and its margin the lead of that verdict. A label is "
        "within noise where its margin over its standard error is at most the 97.5 % quantile of Student's distribution "
        "with one degree of freedom fewer than there are seeds (2.78 for five, 4.30 for three): other seeds and other test "
        "examples might have said something else. The standard error is over paired seeds, and where errors are shares of "
        "examples it includes their sampling: (p₁ (1 − p₁) + p₂ (1 − p₂)) / (k n) is added to its square, for the errors p₁ "
        "and p₂ of the points that the two best verdicts lead to, k seeds and n test examples. The tables above score all "
        "rows, and those outside noise (*decided*) alone. Which these are depends on no method; with their larger margins "
        "they are also the easier ones.",
        table(
            ("zoo", "task", "configurations with a verdict", "with a standard error", "within noise", "share"),
            rows,
            "llrrrr",
        ),
        f"Without single networks, there are no standard errors for {', '.join(without)}." if without else "",
    ]


def _zoos(found: Evaluated) -> list[Zoo]:
    return list({zoo.name: zoo for one in found.posed for zoo in one.zoos}.values())


def _advantage(found: Evaluated, by_part: dict[str, list[Case]]) -> list[str]:
    methods = methods_of(found)
    rivals = [rival for rival in RIVALS if rival in methods]
    if SUBJECT not in methods or not rivals:
        return []
    rows, sums = [], []
    sentences: dict[str, list[str]] = {rival: [] for rival in rivals if rival in (rivals[0], FLOOR)}
    for part, cases in by_part.items():
        groups = {group: [case.name for case in some] for group, some in grouped(cases).items()}
        groups = {group: names for group, names in groups.items() if mean(found, names, SUBJECT)}
        against = {
            group: {rival: mean(found, names, SUBJECT, rival) for rival in rivals} for group, names in groups.items()
        }
        every = [name for names in groups.values() for name in names]
        lines = [
            *((*group, names, against[group]) for group, names in groups.items()),
            ("all of these", "", every, {rival: mean(found, every, SUBJECT, rival) for rival in rivals}),
        ]
        for scenario, task, names, differences in lines if groups else ():
            own = mean(found, names, SUBJECT)
            cells = [_difference(difference) for difference in differences.values()]
            rows.append(
                (code(part), scenario, task and f"`{task}`", len(names), f"{own.estimate:.1f}" if own else "–", *cells)
            )
        counts: dict[str, tuple[int, int, int]] = {
            rival: _counts([some[rival] for some in against.values()]) for rival in rivals
        }
        if groups:
            sums.append((code(part), *(f"{a} – {b} – {n - a - b}" if n else "–" for a, b, n in counts.values())))
            for rival, said in sentences.items():
                ahead, behind, asked = counts[rival]
                said.append(
                    f"of {code(part)} it is ahead in {ahead} of {asked}, behind in {behind}, "
                    f"and cannot be told from it in {asked - ahead - behind}"
                )
    if not rows:
        return []
    heads = [code(rival) for rival in rivals]
    return [
        f"## Does the advantage of {code(SUBJECT)} carry over?",
        "Scenario by scenario and task by task. "
        + " ".join(f"{code(SUBJECT)} against {code(name)}: {'; '.join(said)}." for name, said in sentences.items()),
        "The same against others (scenarios × tasks ahead – behind – neither); to be ahead of one that is itself behind "
        f"{code(FLOOR)} is little:",
        table(("part", *heads), sums, "l" * (1 + len(rivals))),
        f"Accuracy of {code(SUBJECT)}, and that minus another method's, in points with the interval of the paired "
        "difference, as `mdbench compare --accuracy` has it: by Student's distribution over the training samples, or, where "
        "there is one or they change nothing, over grid cells; **bold** where that does not hold 0.",
        table(
            ("part", "scenario", "task", "cases", code(SUBJECT), *(f"− {head}" for head in heads)),
            rows,
            "lllrr" + "l" * len(rivals),
        ),
    ]


def _counts(differences: Sequence[Difference | None]) -> tuple[int, int, int]:
    """Return how many differences are above 0 for sure, how many below, and how many there are."""
    known = [difference.interval for difference in differences if difference]
    return sum(interval.low > 0 for interval in known), sum(interval.high < 0 for interval in known), len(known)


def _part(found: Evaluated, name: str, cases: Sequence[Case]) -> list[str]:
    blocks = [f"### {code(name)}", ABOUT.get(name, "")]
    groups = grouped(cases)
    for scenario, keys in groupby(groups, key=lambda key: key[0]):
        mine = [groups[key] for key in keys]
        count = sum(map(len, mine))
        blocks.append(f"<details><summary>{scenario}: {count} case{'s' * (count > 1)}</summary>")
        for group in mine:
            blocks += [f"`{group[0].task}`: {TASKS[group[0].task].question}", _case_table(found, group)]
        blocks.append("</details>")
    return blocks


def _case_table(found: Evaluated, cases: Sequence[Case]) -> str:
    """Return one line a method and one column a case: methods have long names, and there are more of them than cases."""
    names = [case.name for case in cases]
    methods = [method for method in methods_of(found) if any((method, name) in found.answers for name in names)]
    means = {method: mean(found, names, method) for method in methods}
    columns = [_case_column(found, name, methods) for name in names]
    complete = [method for method, _ in ordered(found, names, [m for m in methods if means[m]])]
    rows = []
    for method in [*complete, *(method for method in methods if not means[method])]:
        over_all = means[method]
        ends = (" ".join(_with_interval(over_all)).strip(),) if len(names) > 1 else ()
        rows.append((code(method), *(column.get(method, "–") for column in columns), *ends))
    heads = [
        f"{_zoos_of(case)}<br>{_budget(case)}<br>{len(posed_of(found, [case.name])[0].rows.test):,} rows"
        for case in cases
    ]
    ends = ("mean",) if len(names) > 1 else ()
    return table(("method", *heads, *ends), rows, "l" + "r" * (len(heads) + len(ends)))


def _case_column(found: Evaluated, case: str, methods: Sequence[str]) -> dict[str, str]:
    accuracies = {method: mean(found, [case], method) for method in methods}
    known = {method: accuracy for method, accuracy in accuracies.items() if accuracy}
    best = max(known, key=lambda method: known[method].estimate, default="")
    cells = {}
    for method, accuracy in known.items():
        behind = mean(found, [case], best, method)
        text = " ".join(_with_interval(accuracy))
        cells[method] = f"**{text}**" if behind and behind.interval.low <= 0 else text
    return cells


def _zoos_of(case: Case) -> str:
    if case.train == case.test:
        return code(case.test)
    return f"{code(case.train) if isinstance(case.train, str) else f'{len(case.train)} others'} → {code(case.test)}"


def _budget(case: Case) -> str:
    if case.sample == "each":
        return "each level"
    if case.sample == "share":
        return f"{case.budget_text} % of the cells"
    if case.sample != "limit":
        return f"{case.budget_text} {case.sample if case.budget > 1 else case.sample[:-1]}"
    unit = COLUMNS[case.knobs[0]].unit
    return f"{case.knobs[0].replace('_', ' ')} ≤ {case.budget_text}{'' if unit == '1' else f' {unit}'}"


def _families(families: Sequence[str]) -> str:
    # That a method looks at the training configuration, which diagnosis presumes unknown, must strike the eye.
    return ", ".join(f"**{family}**" if family == Family.CONFIGURATION else family for family in families) or "nothing"


def _interval(accuracy: Difference) -> str:
    return f"[{accuracy.interval.low:.1f}, {accuracy.interval.high:.1f}]"


def _with_interval(accuracy: Difference | None) -> tuple[str, str]:
    return (f"{accuracy.estimate:.1f}", _interval(accuracy)) if accuracy else ("–", "")


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return "–"
    low, high = difference.interval.low, difference.interval.high
    text = f"{difference.estimate:+.1f}"
    return f"{f'**{text}**' if low > 0 or high < 0 else text} [{low:+.1f}, {high:+.1f}]"


def _failed(failures: Sequence[Failure]) -> list[str]:
    """Say what methods did not answer that they were asked."""
    rows = []
    for (method, reason), group in groupby(
        [failure for failure in failures if failure.method], key=lambda failure: (failure.method, failure.reason)
    ):
        cases = [failure.case for failure in group if failure.case]
        rows.append((code(str(method)), len(cases), code(reason)))
    return ["## Not answered", table(("method", "cases", "why"), rows, "lrl")] if rows else []
