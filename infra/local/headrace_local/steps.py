"""What has to be done once, before something runs: `python -m headrace_local.steps <step>`.

Each step is harmless to repeat and quick when there is nothing to do. It prints a line for what takes long, and on
failure one message that says what to do. What a step needs is imported by that step alone: they are on the way of
every start.
"""

import os
import sys
from collections.abc import Callable

from headrace_local.layout import Layout


def _postgres_init() -> None:
    from headrace_local import postgres

    postgres.initialise(Layout.of(os.environ["HEADRACE_DATA_DIR"]))


def _postgres_setup() -> None:
    from headrace_local import postgres

    postgres.set_up(Layout.of(os.environ["HEADRACE_DATA_DIR"]))


def _models() -> None:
    from headrace_local import models
    from headrace_local.settings import Settings

    models.prepare(Settings.from_environment())


STEPS: dict[str, Callable[[], None]] = {
    "postgres-init": _postgres_init,
    "postgres-setup": _postgres_setup,
    "models": _models,
}


def main(step: str) -> int:
    """Do one step with the settings of the environment. Returns the process's exit code."""
    try:
        STEPS[step]()
    except Exception as error:  # the last line of the log is what `up` shows
        print(f"{step}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
