"""Answers that are given again instead of made again."""
