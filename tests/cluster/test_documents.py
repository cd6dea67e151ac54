"""Documents and traces, across all services of the installation."""

from __future__ import annotations

from tests.cluster.kube import wait

TEXT = "The turbine hall of the Aurora plant is painted green. Its headrace is 412 metres long."


def test_a_document_is_cited(process):
    with process.http() as client:
        document = {"id": "aurora", "text": TEXT, "title": "Aurora", "acl": {"public": True}}
        added = client.post("/v1/collections/handbook/documents?wait=true", json={"documents": [document]})
        assert added.status_code in (200, 201, 202), added.text
        # Greedy: what a small model makes up by chance has no citation.
        answer = process.ask(
            client,
            "Which colour is the turbine hall painted, and how long is the headrace?",
            headrace={"collections": ["handbook"]},
            temperature=0,
        )
    cited = answer["headrace"]["citations"]
    assert {one["document_id"] for one in cited} == {"aurora"}, answer


def test_the_trace_of_an_answer_is_whole(process):
    with process.http() as client:
        answer = process.ask(
            client, "How long is the headrace?", headrace={"collections": ["handbook"], "cache": "bypass"}
        )
        trace = answer["headrace"]["trace_id"]

        def whole():
            found = client.get(f"/v1/traces/{trace}")
            assert found.status_code == 200, found.text
            services = {span["service"] for span in found.json()["spans"]}
            assert {"gateway", "retrieval", "inference"} <= services, services
            ids = {span["span_id"] for span in found.json()["spans"]}
            orphans = [s for s in found.json()["spans"] if s.get("parent_span_id") and s["parent_span_id"] not in ids]
            assert orphans == []
            return True

        wait("the whole trace", whole, 60)
