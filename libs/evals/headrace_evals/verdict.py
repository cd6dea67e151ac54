"""Whether the thresholds of a suite hold."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from headrace_evals.results import Result
from headrace_evals.statistics import mean_difference, ratio, statistic_of
from headrace_evals.suite import ERRORS, QUANTITIES, Judge, Loaded, Threshold, number


class NotComparable(ValueError):
    """Two results are not of the same suite and items."""


class Check(Struct, frozen=True):
    """One demand of a threshold, and what was found.

    Attributes:
        rule: in words, for example `at least 0.8`.
        value: of the arm, or its difference from the baseline; None where nothing is known.
        low, high: confidence interval of a difference; None elsewhere.
        n: items that it is known of.
        why: what is wrong; empty where it holds.
    """

    metric: str
    rule: str
    passed: bool
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    why: str = ""


class Verdict(Struct, frozen=True):
    """All checks of a run."""

    suite: str
    passed: bool
    checks: list[Check]

    def why(self) -> str:
        """What does not hold, in a line; empty where all does."""
        return "; ".join(f"{check.metric}: {check.why}" for check in self.checks if not check.passed)


def judge(loaded: Loaded, result: Result, baseline: Result | None = None) -> Verdict:
    """Hold the thresholds of a suite against a run, and where there is one against the baseline's on the same items.

    Differences are left out where there is no baseline. Missing scores are no good news: a metric that some items do
    not have, because a judge or an embedder failed, does not pass.

    Raises:
        NotComparable: the results are of other items, or of another version of the suite.
    """
    if baseline is not None and baseline.digest != result.digest:
        raise NotComparable("the suite or its dataset changed between the two runs: run both again")
    checks: list[Check] = []
    for metric, threshold in loaded.suite.thresholds.items():
        checks += _alone(loaded, metric, threshold, result)
        if baseline is not None:
            checks += _beside(loaded, metric, threshold, result, baseline)
    return Verdict(loaded.name, all(check.passed for check in checks), checks)


def _alone(loaded: Loaded, metric: str, threshold: Threshold, result: Result) -> list[Check]:
    checks = []
    values = list(result.values(metric).values())
    for name, sign in (("at_least", 1), ("at_most", -1)):
        limit = getattr(threshold, name)
        if limit is None:
            continue
        bound = number(limit, name)
        rule = f"{name.replace('_', ' ')} {_shown(metric, bound)}"
        if threshold.of != "mean":
            rule = f"{threshold.of} {rule}"
        if why := _unknown(loaded, metric, result):
            checks.append(Check(metric, rule, False, n=len(values), why=why))
            continue
        value = statistic_of(threshold.of)(values)
        holds = sign * (value - bound) >= -1e-12
        checks.append(
            Check(
                metric,
                rule,
                holds,
                value,
                n=len(values),
                why="" if holds else f"it is {_shown(metric, value)}, not {rule}",
            )
        )
    return checks


def _beside(loaded: Loaded, metric: str, threshold: Threshold, result: Result, baseline: Result) -> list[Check]:
    margin = threshold.max_decrease if threshold.max_decrease is not None else threshold.max_increase
    if margin is None:
        return []
    bound = number(margin, metric)
    # One side of the interval decides: with 2 alpha outside of both, alpha is outside of this one.
    alpha = 2 * number(loaded.suite.alpha, "alpha")
    down = threshold.max_decrease is not None
    rule = f"{'down' if down else 'up'} by at most {_share(bound)}"
    if threshold.of != "mean":
        rule = f"{threshold.of} {rule}"
    if why := _unknown(loaded, metric, result) or _unknown(loaded, metric, baseline):
        return [Check(metric, rule, False, why=why)]
    before, after = baseline.values(metric), result.values(metric)
    shared = [id_ for id_ in before if id_ in after]
    if not shared:
        return [Check(metric, rule, False, why="no item has it on both arms")]
    ones, others = [before[id_] for id_ in shared], [after[id_] for id_ in shared]
    if metric in QUANTITIES:
        multiple = ratio(ones, others, statistic_of(threshold.of), alpha)
        value, low, high = multiple.value - 1, multiple.low - 1, multiple.high - 1
        holds, bad = high <= bound + 1e-12, low > bound
    else:
        found = mean_difference(ones, others, alpha)
        value, low, high = found.value, found.low, found.high
        holds = low >= -bound - 1e-12 if down else high <= bound + 1e-12
        bad = high < -bound if down else low > bound
    why = ""
    if not holds:
        what = "it is worse than that" if bad else "it is not shown: more items would tell"
        why = f"{what} ({_signed(value)}, interval {_signed(low)} to {_signed(high)}, {len(shared)} items)"
    return [Check(metric, rule, holds, value, low, high, len(shared), why)]


def _unknown(loaded: Loaded, metric: str, result: Result) -> str:
    """Why nothing can be said of a metric; empty where something can."""
    known = len(result.values(metric))
    if not known:
        return f"nothing is known of it on {result.arm.name}"
    if metric in QUANTITIES or metric == ERRORS:
        return ""
    grader = loaded.suite.graders[metric]
    calibration = result.calibrations.get(metric)
    if calibration is not None and not calibration.trusted:
        return (
            f"the judge agrees with people in {_share(calibration.agreement)} of {calibration.n} comparisons, interval "
            f"from {_share(calibration.low)}; {_share(calibration.needed)} are needed"
        )
    if isinstance(grader, Judge) and grader.labels and calibration is None:
        return "the judge was not compared with people"
    if known < len(result.items):
        return f"{len(result.items) - known} of {len(result.items)} items could not be graded"
    return ""


def rows(results: Sequence[Result]) -> list[tuple[str, list[float | None]]]:
    """Means by metric and arm, for tables."""
    names = dict.fromkeys(name for result in results for name in result.metrics())
    return [(name, [result.mean(name) for result in results]) for name in names]


def _shown(metric: str, value: float) -> str:
    return f"{value:.4g}" if metric in QUANTITIES else _share(value)


def _share(value: float) -> str:
    return f"{100 * value:.3g}%"


def _signed(value: float) -> str:
    return f"{100 * value:+.3g}%"
