"""`python -m infra.cluster up|down|build|load|env|status`: a Kubernetes on this machine, from packages."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys

from infra.cluster import addons, builds, cluster, images, processes, volumes
from infra.cluster.components import ORDER
from infra.cluster.places import Places


def main() -> int:
    """Run a command; 1 with one line on standard error where something is missing or failed."""
    parser = argparse.ArgumentParser(prog="python -m infra.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="build what is missing, start the cluster, wait until it is ready")
    down = commands.add_parser("down", help="stop the cluster")
    down.add_argument("--wipe", action="store_true", help="and forget all that was in it")
    build = commands.add_parser("build", help="build parts without starting anything")
    build.add_argument("parts", nargs="*", metavar="part", help=f"default: all of {', '.join(builds.BUILDS)}")
    load = commands.add_parser("load", help="bring images of this machine into the cluster")
    load.add_argument("references", nargs="+", metavar="image")
    addon = commands.add_parser("addon", help="install what headrace works with")
    addon.add_argument("name", choices=sorted(addons.ADDONS))
    commands.add_parser("packages", help="print the packages of Debian that have to be installed first")
    commands.add_parser("env", help="print what a shell needs to use the cluster")
    commands.add_parser("status", help="show what runs")
    commands.add_parser("volumes", help="make volumes for claims until told to stop (started by up)")
    arguments = parser.parse_args()
    places = Places()
    try:
        return _run(arguments, places)
    except (cluster.CannotRun, TimeoutError, RuntimeError) as error:
        print(f"headrace: {error}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"headrace: {shlex.join(map(str, error.cmd[:6]))} ended with {error.returncode}", file=sys.stderr)
    return 1


def _run(arguments: argparse.Namespace, places: Places) -> int:
    match arguments.command:
        case "up":
            cluster.up(places)
        case "down":
            cluster.down(places, wipe=arguments.wipe)
        case "build":
            builds.ensure(places, *(arguments.parts or builds.BUILDS))
        case "load":
            used = images.engine()
            images.load(places, *(images.save(places, used, reference) for reference in arguments.references))
        case "addon":
            addons.install(places, arguments.name)
        case "packages":
            print(*cluster.packages_missing())
        case "env":
            for name, value in places.environment().items():
                print(f"export {name}={shlex.quote(value)}")
        case "volumes":
            volumes.serve(places)
        case "status":
            for name in (*ORDER, volumes.NAME):
                pid = processes.running(places.pids, name)
                print(f"{name:<26} {'not running' if pid is None else f'pid {pid}'}")
            print(f"{'API server answers':<26} {'yes' if cluster.running(places) else 'no'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
