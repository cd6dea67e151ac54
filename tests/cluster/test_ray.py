"""The chart with `runtime: ray`: all six services on Ray Serve under the KubeRay operator."""

from __future__ import annotations

import asyncio
import time

import pytest

from headrace import AsyncHeadraceGrpc
from infra.images.plan import SERVICES
from tests.cluster.conftest import KEEP
from tests.cluster.kube import wait
from tests.cluster.release import GRPC, NAME


@pytest.fixture(scope="module")
def ray(on_ray):
    release = on_ray().result()
    yield release
    if not KEEP:
        release.remove()


def test_all_six_services_run_on_ray_and_answer(ray, measured):
    begun = time.monotonic()
    with ray.http() as client:
        answer = wait("an answer", lambda: ray.ask(client, "Say hello."), 300, every_s=2)
    assert answer["choices"][0]["message"]["content"].strip()
    if ray.installed_s is not None:
        measured.append(f"ray: install to first answer {ray.installed_s + time.monotonic() - begun:.0f} s")
    found = ray.kube.get("rayservice")["items"][0]["status"]
    applications = found["activeServiceStatus"]["applicationStatuses"]
    assert {name: one["status"] for name, one in applications.items()} == dict.fromkeys(SERVICES, "RUNNING")


def test_grpc_on_ray(ray):
    async def chat(port):
        async with AsyncHeadraceGrpc(f"127.0.0.1:{port}", api_key=ray.key) as headrace:
            return await headrace.chat("Say hello.", model="assistant")

    with ray.kube.forward(f"service/{NAME}-ray-grpc", GRPC) as port:
        assert asyncio.run(chat(port)).text.strip()


def test_a_document_is_cited_on_ray(ray):
    with ray.http() as client:
        document = {"id": "ray", "text": "The Ray plant has 7 turbines.", "acl": {"public": True}}
        added = client.post("/v1/collections/handbook/documents?wait=true", json={"documents": [document]})
        assert added.status_code in (200, 201, 202), added.text
        question = "How many turbines has the Ray plant?"
        answer = ray.ask(client, question, headrace={"collections": ["handbook"]}, temperature=0)
    assert [one["document_id"] for one in answer["headrace"]["citations"]] == ["ray"]
