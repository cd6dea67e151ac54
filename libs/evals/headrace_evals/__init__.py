"""Evaluation suites: what is asked, how answers are graded, what must hold, and what is said about it.

No module here knows a transport: whoever runs a suite gives it a `ports.Platform`.
"""
