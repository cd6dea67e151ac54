"""`python -m headrace_local.ray`: prepare a session and become `headrace_kit.hosting.ray_main` in it."""

import os
import sys
from pathlib import Path

from headrace_kit.config.environment import Environment
from headrace_local.layout import Layout
from headrace_local.processes import become_subreaper
from headrace_local.ray import session
from headrace_local.ray.settings import variables


def main() -> None:
    """Does not return. Arguments are passed on."""
    env = Environment()
    record = Layout.of(env.data_dir).run / "ray-session"
    session.recover(record)
    folder = session.create(record)
    shims = Path(__file__).with_name("site")
    path = os.pathsep.join(filter(None, (str(shims), os.environ.get("PYTHONPATH"))))
    # Survives exec: orphans of the session become children of the process that stops it.
    become_subreaper()
    os.execve(  # noqa: S606
        sys.executable,
        (sys.executable, "-m", "headrace_kit.hosting.ray_main", "--folder", str(folder), *sys.argv[1:]),
        {**os.environ, **variables(folder, env.port), "PYTHONPATH": path},
    )


if __name__ == "__main__":
    main()
