"""How well a judge sees what people see, and how far off that may be. Pure.

Of comparisons that people decided, a judge gets a share right and a share the wrong way round; for the rest it says
tie. Its *gain* is the one less the other: 1 never errs, 0 is as good as a coin. Asked in both orders, a judge treats
both answers alike, so if people prefer the candidate by a net share `d`, the judge is expected to by `gain x d`:
errors make a preference look smaller, they make none. That is Rogan and Gladen's correction of a prevalence by a
test's sensitivity and specificity (*Estimating prevalence from the results of a screening test*, 1978) for a test that
errs alike on both sides; Lee et al., *How to correctly report LLM-as-a-judge evaluations*, 2025, use it for judges.

It holds where the judge errs as often on live answers as on the labelled ones: label answers such as those of your
own arms.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from headrace_evals.judging import PREFERS
from headrace_evals.statistics import binomial_interval
from headrace_evals.suite import Label


class Agreement(Struct, frozen=True):
    """What a judge made of people's comparisons.

    Attributes:
        right: people decided, and the judge as they did.
        tie: people decided, and the judge did not.
        wrong: people decided, and the judge the other way.
        ties_kept: people said tie, and so did the judge.
        ties_lost: people said tie, and the judge decided.
    """

    right: int = 0
    tie: int = 0
    wrong: int = 0
    ties_kept: int = 0
    ties_lost: int = 0

    @property
    def decided(self) -> int:
        """Comparisons that people decided."""
        return self.right + self.tie + self.wrong

    @property
    def gain(self) -> float:
        """The gain as found; 0 where people decided nothing."""
        return (self.right - self.wrong) / self.decided if self.decided else 0.0

    def between(self, alpha: float) -> tuple[float, float]:
        """The gain lies outside in at most `alpha` of calibrations, below and above together: both shares have an
        exact interval (Clopper and Pearson) at half of it."""
        right_low, right_high = binomial_interval(self.right, self.decided, alpha / 2)
        wrong_low, wrong_high = binomial_interval(self.wrong, self.decided, alpha / 2)
        return max(-1.0, right_low - wrong_high), min(1.0, right_high - wrong_low)

    def in_words(self) -> str:
        """For people."""
        ties = self.ties_kept + self.ties_lost
        said = f"right in {self.right} and wrong in {self.wrong} of {self.decided} comparisons that people decided"
        return f"{said}, a tie in {self.ties_kept} of {ties} that they did not" if ties else said


def agreement(labels: Iterable[Label], found: Iterable[float | None]) -> Agreement:
    """Count what a judge made of labels: `Preference.second` of each, None where it gave no verdict. That one is the
    wrong way round: whoever says nothing readable must not look better for it."""
    right = tie = wrong = kept = lost = 0
    for label, second in zip(labels, found, strict=True):
        wanted = PREFERS[label.prefers]
        if wanted == 0.5:
            kept, lost = kept + (second == 0.5), lost + (second != 0.5)
        elif second == 0.5:
            tie += 1
        elif second == wanted:
            right += 1
        else:
            wrong += 1
    return Agreement(right, tie, wrong, kept, lost)
