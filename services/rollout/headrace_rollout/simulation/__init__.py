"""Rollouts played in a computer: laws of traffic and of both arms, judged by the analysis that judges live traffic."""
