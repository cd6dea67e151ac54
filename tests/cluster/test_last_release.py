"""An upgrade from the release before: its chart and images, then those of this checkout, under load.

`HEADRACE_CLUSTER_FROM` names the commit or tag to come from; by default it is the newest tag `v*` that is not this very
commit. Where there is none, no release was made before this one, and there is nothing to come from.
"""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from infra.cluster.progress import say
from infra.images.plan import SERVICES
from tests.cluster.kube import wait
from tests.cluster.release import CHART, NAME, VALUES, Release
from tests.cluster.source import ROOT, TAG

TEXT = "The surge shaft of the Boreas plant was dug in 1931 and is 64 metres deep."
QUESTION = "When was the surge shaft of the Boreas plant dug?"


def git(*words, check=True):
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=check).stdout.strip()


@pytest.fixture(scope="module")
def before(source):
    """A checkout of the release before, and the tag of its images."""
    here = git("rev-parse", "HEAD", check=False)
    named = os.environ.get("HEADRACE_CLUSTER_FROM") or next(
        (
            tag
            for tag in git("tag", "--list", "v*", "--sort=-creatordate").split()
            if git("rev-list", "-n1", tag) != here
        ),
        "",
    )
    if not named:
        pytest.skip("no release was tagged before this one; HEADRACE_CLUSTER_FROM names another commit to come from")
    commit = git("rev-parse", f"{named}^{{commit}}")
    tree = source.places.home / "releases" / commit
    if not tree.exists():
        git("worktree", "prune")
        git("worktree", "add", "--detach", "--force", str(tree), commit)
        subprocess.run(["infra/local/bootstrap.sh", "dev", "console"], cwd=tree, check=True, stdout=subprocess.DEVNULL)
    say(f"coming from {named}, {commit[:12]}")
    return tree, f"test-{commit[:12]}"


@pytest.fixture(scope="module")
def installed(source, before):
    """The release before, as it was installed."""
    tree, tag = before
    source.images_of(tree, tag, *SERVICES, "tools", "triton")
    release = Release(source, "headrace-before", "process")
    release.chart, release.base, release.tag = tree / "charts" / "headrace", tree / "tests" / "cluster" / "values", tag
    release.install()
    yield release
    release.remove()


def test_it_is_upgraded_to_this_one_and_loses_nothing(installed, measured):
    with installed.http() as client:
        document = {"id": "boreas", "text": TEXT, "title": "Boreas", "acl": {"public": True}}
        added = client.post("/v1/collections/handbook/documents?wait=true", json={"documents": [document]})
        assert added.status_code in (200, 201, 202), added.text
        trace = installed.ask(client, "Say hello.")["headrace"]["trace_id"]
        wait("the trace", lambda: client.get(f"/v1/traces/{trace}").status_code == 200, 60)
    installed.source.images(*SERVICES, "tools", "triton")
    installed.chart, installed.base, installed.tag = CHART, VALUES, TAG
    with installed.load(rate=20, seconds=900) as result:
        begun = time.monotonic()
        installed.helm("upgrade")
        took = time.monotonic() - begun
    measured.append(
        f"upgrade from the release before in {took:.0f} s at 20 a second: "
        f"{result['failed']} of {result['calls']} failed"
    )
    assert result["failed"] == 0, json.dumps(result, indent=1)
    with installed.http() as client:  # with the key that the release before gave
        answer = installed.ask(client, QUESTION, headrace={"collections": ["handbook"]}, temperature=0)
        assert {one["document_id"] for one in answer["headrace"]["citations"]} == {"boreas"}, answer
        assert client.get(f"/v1/traces/{trace}").status_code == 200
    assert "Succeeded" in installed.kube.helm("test", NAME, "--timeout", "3m", "--logs")
