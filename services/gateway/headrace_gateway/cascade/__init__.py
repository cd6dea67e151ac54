"""Stages in order: hold an answer back, judge it, release it or go on."""
