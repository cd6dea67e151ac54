"""Model files and Triton's model repository, made ready before Triton starts."""

from headrace_local import triton
from headrace_local.settings import Settings


def prepare(settings: Settings) -> None:
    """Fetch what the config's deployments need and render the model repository."""
    layout = settings.layout
    triton.link_backend(layout, triton.environment(settings.triton_env))
