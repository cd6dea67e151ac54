"""`python -m headrace_kit.install secrets|database|resources`: one step of an installation. Harmless to repeat.

Each imports only what it needs: an upgrade waits for it.
"""

from __future__ import annotations

import argparse
import sys
import time

from headrace_kit.config.ports import SERVICES
from headrace_kit.install import secrets
from headrace_kit.install.kube import Kube, KubeError


def main() -> None:
    """Do one step; exits with 1 and one line when it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m headrace_kit.install")
    steps = parser.add_subparsers(dest="step", required=True)
    make = steps.add_parser("secrets", help="make missing secrets in this pod's namespace")
    make.add_argument("--generated", help="Secret of passwords, store addresses and the first admin key")
    make.add_argument("--signing", help="Secret of the services' signing keys")
    make.add_argument("--postgres", help="host:port of the PostgreSQL whose roles are ours to make")
    make.add_argument("--valkey", help="host:port of the Valkey whose password is ours to choose")
    make.add_argument("--admin", action="store_true", help="make the first admin key")
    make.add_argument("--label", action="append", default=[], help="key=value of the Secrets")
    database = steps.add_parser("database", help="make roles, database and extension")
    database.add_argument("--patience-s", type=float, default=300, help="longest wait for the server (default: 300)")
    steps.add_parser("resources", help="let ModelRollout resources go, before the service that they wait for goes")
    given = parser.parse_args()
    try:
        if given.step == "secrets":
            _secrets(given)
        elif given.step == "database":
            _database(given.patience_s)
        else:
            _resources()
    except KubeError as error:
        sys.exit(f"headrace: {error}")


def _secrets(given: argparse.Namespace) -> None:
    kube, labels = Kube.in_cluster(), dict(label.split("=", 1) for label in given.label)
    if given.generated:
        added = secrets.keep(
            kube,
            given.generated,
            lambda have: secrets.missing(have, postgres=given.postgres, valkey=given.valkey, admin=given.admin),
            labels,
        )
        print(f"{given.generated}: {', '.join(added) or 'nothing was missing'}")
    if given.signing:
        wanted = {f"{service}.pem" for service in SERVICES} | {"jwks.json"}
        added = secrets.keep(
            kube,
            given.signing,
            # Keys belong together: one that is gone cannot be made again without the others.
            lambda have: {} if wanted <= have.keys() else secrets.signing_keys(),
            labels,
        )
        print(f"{given.signing}: {', '.join(added) or 'nothing was missing'}")


def _resources() -> None:
    done = Kube.in_cluster().let_go("headrace.dev", "v1alpha1", "modelrollouts", "headrace.dev/rollout")
    print(f"ModelRollout resources that wait for nobody now: {', '.join(done) or 'none'}")


def _database(patience_s: float) -> None:
    import psycopg

    from headrace_kit.config import Environment, Secrets
    from headrace_kit.errors import HeadraceError
    from headrace_kit.install.database import set_up
    from headrace_kit.install.names import APP, OWNER

    env = Environment()
    found = Secrets(env.secrets_path, env.variables())
    try:
        passwords = {OWNER: found.require("postgres-owner-password"), APP: found.require("postgres-app-password")}
        server = found.require("postgres-superuser-dsn")
    except HeadraceError as error:
        sys.exit(f"headrace: {error}")
    deadline = time.monotonic() + patience_s
    while True:
        try:
            set_up(server, passwords)
            break
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                sys.exit(f"headrace: the database cannot be reached: {str(error).strip()}")
            time.sleep(1)
        except psycopg.Error as error:
            sys.exit(f"headrace: the database cannot be set up: {str(error).strip()}")
    print("roles, database and extension are there")


if __name__ == "__main__":
    main()
