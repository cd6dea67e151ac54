"""Code of our Triton python-backend models: package data that `rendering.triton` copies into a model repository.

Nothing in here is imported by the service: it runs in Triton's own environment (numpy 1, `requirements/triton.lock`).
"""
