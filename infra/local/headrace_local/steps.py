"""What has to be done once, before something runs: `python -m headrace_local.steps <step>`.

Each step is harmless to repeat and quick when there is nothing to do. It prints a line for what takes long, and on
failure one message that says what to do.
"""

import sys
from collections.abc import Callable

from headrace_local import models, postgres
from headrace_local.settings import Settings

STEPS: dict[str, Callable[[Settings], None]] = {
    "postgres-init": lambda settings: postgres.initialise(settings.layout),
    "postgres-setup": lambda settings: postgres.set_up(settings.layout),
    "models": models.prepare,
}


def main(step: str) -> int:
    """Do one step with the settings of the environment. Returns the process's exit code."""
    settings = Settings.from_environment()
    try:
        STEPS[step](settings)
    except Exception as error:  # the last line of the log is what `up` shows
        print(f"{step}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
