"""What people get wrong: the old version serves on, and `headrace doctor` says what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.cluster.kube import KubeError, wait
from tests.cluster.release import CHART, NAME, VALUES, Release

PROGRAM = "from headrace.cli import main; main()"


def doctor(release, *, code):
    """What the doctor finds, by check."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "doctor", "--json", "--release", NAME, "-n", release.kube.namespace],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **release.kube.environment},
    )
    assert done.returncode == code, done.stdout + done.stderr
    found = {}
    for one in json.loads(done.stdout):
        found.setdefault(one["check"], []).append(one)
    return found


def test_an_image_that_cannot_be_pulled_leaves_the_old_one_serving(process):
    lost = {"image": {"digests": {"gateway": "sha256:" + "0" * 64}}}
    with pytest.raises(KubeError):
        process.helm("upgrade", values=lost, timeout="25s")
    with process.http() as client:
        assert process.ask(client, "Say hello.", model="scripted")["choices"]
    found = doctor(process, code=1)
    assert any("gateway: Err" in one["what"] or "gateway: Image" in one["what"] for one in found["pods"]), found["pods"]
    assert found["release"][0]["state"] == "problem"
    process.kube.helm("rollback", NAME, "--wait", "--timeout", "3m")
    wait("gateways whole again", lambda: process.kube.ready("gateway") == len(process.kube.pods("gateway")), 120)
    assert "deployed" in process.kube.helm("status", NAME)


@pytest.fixture
def lost(process, source):
    """A namespace whose Secret names a database that is not there."""
    release = Release(source, "headrace-lost", "process")
    release._namespace()
    address = "postgresql://headrace@nowhere.headrace-lost.svc:5432/headrace?connect_timeout=5"
    data = {"postgres-dsn": address, "postgres-admin-dsn": address}
    release.kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"}, "stringData": data})
    yield release
    release.remove()


def test_a_database_that_is_not_there_is_said_before_anything_runs(lost):
    with pytest.raises(KubeError) as refused:
        lost.kube.run(
            *("helm", "install", NAME, str(CHART), "--wait", "--timeout", "4m"),
            *("--values", str(VALUES / "base.yaml"), "--set", f"image.tag={lost.tag}"),
            *("--set", "postgres.enabled=false", "--set", "postgres.existingSecret=database"),
            timeout_s=300,
        )
    assert "nowhere.headrace-lost.svc" in str(refused.value)
    assert not lost.kube.pods("gateway")
