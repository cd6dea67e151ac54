"""The chart installs with its defaults for trying out, and answers."""

from __future__ import annotations

import time

import pytest

from infra.images.plan import SERVICES
from tests.cluster.release import NAME
from tests.cluster.test_mistakes import doctor


def test_it_installs_and_answers(process, measured):
    """From `helm install` to the first answer of a language model."""
    begun = time.monotonic()
    with process.http() as client:
        answer = process.ask(client, "Say hello.")
    assert answer["choices"][0]["message"]["content"].strip()
    if process.installed_s is not None:
        seconds = process.installed_s + time.monotonic() - begun
        measured.append(f"install to first answer {seconds:.0f} s (helm install --wait {process.installed_s:.0f} s)")


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_ready_and_never_restarted(process, service):
    pods = process.kube.pods(service)
    assert process.kube.ready(service) == len(pods) >= 1
    restarts = {one["name"]: one["restartCount"] for pod in pods for one in pod["status"]["containerStatuses"]}
    assert not any(restarts.values()), restarts


def test_helm_test_passes(process):
    told = process.kube.helm("test", NAME, "--timeout", "3m", "--logs")
    assert "Succeeded" in told


def test_the_doctor_finds_nothing_wrong(process):
    found = doctor(process, code=0)
    assert found["release"][0]["state"] == found["apis"][0]["state"] == found["references"][0]["state"] == "ok"
