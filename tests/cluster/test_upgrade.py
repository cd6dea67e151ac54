"""A helm upgrade to changed images, under load."""

from __future__ import annotations

import json
import time

import pytest

from infra.images.plan import SERVICES
from tests.cluster.kube import KubeError
from tests.cluster.source import CHANGED, TAG

ALL = (*SERVICES, "tools", "triton")


def tags(release):
    """Tags of the images that the services run."""
    pods = [pod for service in SERVICES for pod in release.kube.pods(service)]
    return {pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in pods}


def test_an_upgrade_fails_no_request(process, measured):
    process.source.images(*ALL, tag=CHANGED)
    before = tags(process)
    process.tag = TAG if before == {CHANGED} else CHANGED
    with process.load(rate=20, seconds=600) as result:
        begun = time.monotonic()
        process.helm("upgrade")
        took = time.monotonic() - begun
    assert tags(process) == {process.tag}
    measured.append(
        f"upgrade of all images in {took:.0f} s at 20 a second: {result['failed']} of {result['calls']} failed"
    )
    assert result["failed"] == 0, json.dumps(result, indent=1)


def test_an_upgrade_with_a_broken_config_is_refused_and_the_old_one_serves(process):
    broken = {"config": {"models": {"assistant": {"deployment": "nowhere"}}}}
    with pytest.raises(KubeError):
        process.helm("upgrade", values=broken, timeout="3m")
    with process.http() as client:
        assert process.ask(client, "Say hello.")["choices"]
