"""Code of our Triton python-backend models, which `rendering.triton` copies into a model repository as a package.

Each model is a subpackage whose `model` has Triton's entry point. Imports are relative, so that the same files work
in Triton (as `triton_models`, see `requirements/triton.lock`) and in this service, whose in-process adapters use the
parts that know no Triton. Nothing in here imports another part of headrace.
"""
