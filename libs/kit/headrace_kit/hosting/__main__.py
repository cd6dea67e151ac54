"""`python -m headrace_kit.hosting <service>`: serve one service in this process."""

from __future__ import annotations

import argparse
import sys

from headrace_kit.config.ports import SERVICES
from headrace_kit.errors import HeadraceError
from headrace_kit.hosting.process import run


def main() -> None:
    """Parse the arguments and serve; exits with 2 and one line when the config or a port is at fault."""
    parser = argparse.ArgumentParser(prog="headrace serve", description="Serve one service until it is told to stop.")
    parser.add_argument("service", choices=SERVICES)
    try:
        run(parser.parse_args().service)
    except (HeadraceError, OSError) as error:
        sys.exit(f"headrace: {error}")


if __name__ == "__main__":
    main()
