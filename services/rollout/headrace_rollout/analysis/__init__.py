"""Judges a candidate beside its baseline on live traffic, always-valid: a look after every outcome costs nothing."""

from headrace_rollout.analysis.analysis import Analysis
from headrace_rollout.analysis.observed import Arm, Outcome, Pair, State, Verdict

__all__ = ["Analysis", "Arm", "Outcome", "Pair", "State", "Verdict"]
