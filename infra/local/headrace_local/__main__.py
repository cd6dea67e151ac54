"""`python -m headrace_local up|down|restart|status|logs`."""

import argparse
import sys
from pathlib import Path

from headrace_local import commands


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m headrace_local", description="The platform on this machine.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in (("up", "start everything and print how to use it"), ("restart", "stop and start")):
        starting = verbs.add_parser(verb, help=text)
        starting.add_argument("--config", type=Path, help="headrace.yaml to use")
        starting.add_argument("--runtime", choices=("process", "ray"), help="what hosts the services")
        starting.add_argument("--port-base", type=int, help="first of the platform's 100 ports")
        if verb == "up":
            starting.add_argument("--foreground", action="store_true", help="stay until Ctrl-C, which stops everything")
        else:
            starting.add_argument("unit", nargs="?", help="one unit of a running platform; default: everything")
    verbs.add_parser("down", help="stop everything")
    verbs.add_parser("status", help="show what runs").add_argument("--json", action="store_true", dest="as_json")
    logs = verbs.add_parser("logs", help="print the end of the logs")
    logs.add_argument("units", nargs="*", help="units; default: all")
    logs.add_argument("-f", "--follow", action="store_true", help="go on printing until Ctrl-C")
    logs.add_argument("-n", "--lines", type=int, default=50, help="lines of each log (default 50)")
    options = vars(parser.parse_args(arguments))
    command = getattr(commands, options.pop("verb"))
    return int(command(**options))


if __name__ == "__main__":
    sys.exit(main())
