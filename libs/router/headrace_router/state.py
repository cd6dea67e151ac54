"""What the answers so far say about each deployment's answer: the features of the posterior.

A deployment that was asked is judged by who agrees with it; one that was not, by how the others agree. Weights of votes
are log odds of the prior, as in Dawid and Skene (1979). Plain numbers, so that a deployment without log probabilities
or with free text is served by the same predictor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from headrace_router.answers import Answer, agreement, surprise

ASKED = 18
UNASKED = 14
"""How many features there are for a deployment that was asked, and for one that was not."""
_VOTE = 0.7
"""Added to the log odds of a vote: a right answer among several possible ones is worth more than its odds."""


class Observed:
    """The answers to one prompt, by deployment index, and how they agree. Adding an answer compares it with the rest.

    Args:
        rates: for each deployment, how often it gives which conclusion.
    """

    def __init__(self, rates: Sequence[Mapping[str, float]]) -> None:
        self._rates = rates
        self.answers: dict[int, Answer] = {}
        self._pairs: dict[tuple[int, int], tuple[float, bool]] = {}
        self._surprise: dict[int, float] = {}

    def add(self, index: int, answer: Answer) -> None:
        """Take the answer of a deployment."""
        for other, known in self.answers.items():
            self._pairs[index, other] = self._pairs[other, index] = agreement(answer, known)
        self.answers[index] = answer
        self._surprise[index] = surprise(answer, self._rates[index])

    def features(self, target: int, odds: Sequence[float], seen: Sequence[int]) -> list[float]:
        """Of deployment `target`, when those in `seen` have answered; `odds` are the prior's log odds of all."""
        others = [index for index in seen if index != target]
        head = [odds[target], sum(odds) / len(odds), float(len(others))]
        if target in seen:
            return head + self._asked(target, odds, others)
        return head + self._unasked(odds, others)

    def _asked(self, target: int, odds: Sequence[float], others: Sequence[int]) -> list[float]:
        agree = disagree = 0
        weight_for = weight_against = surprised = likeness = 0.0
        comparable = 0
        against: dict[int, float] = {}
        for other in others:
            share, verdict = self._pairs[target, other]
            vote = odds[other] + _VOTE
            likeness += share
            comparable += verdict
            if share >= 1:
                agree += 1
                weight_for += vote
                surprised += self._surprise[other]
            elif verdict:
                disagree += 1
                weight_against += vote
                against[other] = vote + sum(
                    odds[third] + _VOTE for third in others if third != other and self._pairs[other, third][0] >= 1
                )
        answer = self.answers[target]
        count = len(others)
        return [
            agree,
            disagree,
            weight_for,
            weight_against,
            max(against.values(), default=0.0),
            likeness / count if count else math.nan,
            comparable / count if count else math.nan,
            surprised / agree if agree else math.nan,
            self._surprise[target],
            math.nan if answer.mean_logprob is None else answer.mean_logprob,
            *answer.shape,
            odds[target] + weight_for - weight_against,
        ]

    def _unasked(self, odds: Sequence[float], others: Sequence[int]) -> list[float]:
        count = len(others)
        if not count:
            return [math.nan] * (UNASKED - 3)
        best, backers, total, likeness, pairs = -math.inf, 0, 0.0, 0.0, 0
        for one in others:
            same = [two for two in others if two != one and self._pairs[one, two][0] >= 1]
            weight = odds[one] + _VOTE + sum(odds[two] + _VOTE for two in same)
            total += odds[one] + _VOTE
            if weight > best:
                best, backers = weight, len(same) + 1
            for two in others:
                if two < one:
                    likeness += self._pairs[one, two][0]
                    pairs += 1
        shapes = [self.answers[index].shape for index in others]
        told = [a.mean_logprob for index in others if (a := self.answers[index]).mean_logprob is not None]
        return [
            best,
            backers / count,
            total - best,
            likeness / pairs if pairs else math.nan,
            max(odds[index] for index in others),
            sum(told) / len(told) if told else math.nan,
            sum(self._surprise[index] for index in others) / count,
            *(sum(shape[place] for shape in shapes) / count for place in range(4)),
        ]
