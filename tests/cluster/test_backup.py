"""The database is saved, lost, and brought back from what was saved."""

from __future__ import annotations

import time

from tests.cluster.kube import ready, wait

POSTGRES = "headrace-postgres-0"
PASSWORD = "PGPASSWORD=$(cat /etc/headrace-secrets/postgres-superuser-password)"


def test_a_lost_database_comes_back_from_its_backup(process, measured):
    with process.http() as client:
        document = {"id": "kept", "text": "The weir of Bergen was built in 1911.", "acl": {"public": True}}
        added = client.post("/v1/collections/handbook/documents?wait=true", json={"documents": [document]})
        assert added.status_code in (200, 201, 202), added.text
    begun = time.monotonic()
    dump = f"{PASSWORD} pg_dumpall --clean --if-exists -h 127.0.0.1 -U headrace_admin"
    saved = process.kube.kubectl("exec", POSTGRES, "--", "sh", "-c", dump)
    assert "The weir of Bergen" in saved
    saved_s = time.monotonic() - begun

    process.kube.kubectl("scale", "statefulset/headrace-postgres", "--replicas=0")
    wait("no database", lambda: not process.kube.pods("postgres"), 90)
    process.kube.kubectl("delete", "pvc", f"data-{POSTGRES}")
    process.kube.kubectl("scale", "statefulset/headrace-postgres", "--replicas=1")
    wait("an empty database", lambda: ready(process.kube.get("pod", POSTGRES)), 120)

    begun = time.monotonic()
    # The superuser that restores is in the backup too: what says so is no failure.
    restore = f"{PASSWORD} psql -q -h 127.0.0.1 -U headrace_admin -d postgres"
    process.kube.kubectl("exec", "--stdin", POSTGRES, "--", "sh", "-c", restore, stdin=saved)
    restored_s = time.monotonic() - begun

    def cited():
        with process.http() as client:
            found = client.post("/v1/collections/handbook/search", json={"query": "When was the weir built?"})
            assert found.status_code == 200, found.text
            return "kept" in [one["document_id"] for one in found.json()["results"]]

    wait("the document is found again", cited, 120)
    with process.http() as client:
        assert process.ask(client, "Say hello.", headrace={"cache": "bypass"})["choices"]
    measured.append(f"backup in {saved_s:.1f} s, restored into an empty database in {restored_s:.1f} s")
