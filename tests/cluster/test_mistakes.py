"""What people get wrong: the old version serves on, and `headrace doctor` says what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

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


@pytest.fixture(scope="module")
def without_a_database(source):
    """An installation whose Secret names a database that is not there, tried beside the other tests: what it says."""
    release = Release(source, "headrace-lost", "process")
    release._namespace()
    address = "postgresql://headrace@nowhere.headrace-lost.svc:5432/headrace?connect_timeout=5"
    data = {"postgres-dsn": address, "postgres-admin-dsn": address}
    release.kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"}, "stringData": data})

    def install():
        with pytest.raises(KubeError) as refused:
            release.kube.run(
                *("helm", "install", NAME, str(CHART), "--wait", "--timeout", "4m"),
                *("--values", str(VALUES / "base.yaml"), "--set", f"image.tag={release.tag}"),
                *("--set", "postgres.enabled=false", "--set", "postgres.existingSecret=database"),
                timeout_s=300,
            )
        assert not release.kube.pods("gateway")
        return str(refused.value)

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(install)
    release.remove()


def test_an_image_that_cannot_be_pulled_leaves_the_old_one_serving(process, without_a_database):
    lost = {"image": {"digests": {"gateway": "sha256:" + "0" * 64}}}
    with pytest.raises(KubeError):
        process.helm("upgrade", values=lost, timeout="30s")  # for each of its steps
    with process.http() as client:
        assert process.ask(client, "Say hello.", model="scripted")["choices"]
    found = doctor(process, code=1)
    assert any("gateway: Err" in one["what"] or "gateway: Image" in one["what"] for one in found["pods"]), found["pods"]
    assert found["release"][0]["state"] == "problem"
    process.kube.helm("rollback", NAME, "--wait", "--timeout", "3m")
    wait("gateways whole again", lambda: process.kube.ready("gateway") == len(process.kube.pods("gateway")) >= 1, 120)
    assert "deployed" in process.kube.helm("status", NAME)


def test_a_database_that_is_not_there_is_said_before_anything_runs(process, without_a_database):
    assert "nowhere.headrace-lost.svc" in without_a_database.result()
