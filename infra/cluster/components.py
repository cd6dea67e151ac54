"""The programs of a single-node cluster: their configuration files and command lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.cluster import network
from infra.cluster.places import (
    API_PORT,
    DNS_IP,
    ETCD_PORT,
    NODE,
    NODE_IP,
    POD_NETWORK,
    SERVICE_NETWORK,
    Places,
)

PAUSE_IMAGE = "localhost/pause:1"
CNI_PROGRAMS = "/usr/lib/cni"
ORDER = ("containerd", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
"""In which they are started; they are stopped the other way round."""


def write_configuration(places: Places) -> None:
    """Write the files that the command lines name."""
    places.conf.mkdir(parents=True, exist_ok=True)
    (places.conf / "containerd.toml").write_text(_containerd(places))
    network.write_cni(places.conf / "cni", places)
    (places.conf / "kubelet.yaml").write_text(json.dumps(_kubelet(places), indent=1))
    (places.conf / "kube-proxy.yaml").write_text(json.dumps(_kube_proxy(places), indent=1))


def commands(places: Places) -> dict[str, list[str]]:
    """Command lines by name, each with the path of its program."""
    return {
        "containerd": ["containerd", "-c", str(places.conf / "containerd.toml")],
        "etcd": [str(places.bin / "etcd"), *_flags(_etcd(places))],
        "kube-apiserver": [str(places.bin / "kube-apiserver"), *_flags(_apiserver(places))],
        "kube-controller-manager": [str(places.bin / "kube-controller-manager"), *_flags(_controller_manager(places))],
        "kube-scheduler": [str(places.bin / "kube-scheduler"), *_flags(_scheduler(places))],
        "kubelet": [
            str(places.bin / "kubelet"),
            *_flags(
                {
                    "config": places.conf / "kubelet.yaml",
                    "kubeconfig": places.conf / "kubelet.conf",
                    "root-dir": places.state / "kubelet",
                    "cert-dir": places.state / "kubelet-pki",
                    "hostname-override": NODE,
                    "node-ip": NODE_IP,
                }
            ),
        ],
        "kube-proxy": [str(places.bin / "kube-proxy"), f"--config={places.conf / 'kube-proxy.yaml'}"],
    }


def _flags(values: dict[str, Any]) -> list[str]:
    return [f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in values.items()]


def _containerd(places: Places) -> str:
    unused = ("snapshotter.v1.btrfs", "snapshotter.v1.zfs", "snapshotter.v1.devmapper", "snapshotter.v1.aufs")
    tracing = ("io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp")
    disabled = json.dumps([*(f"io.containerd.{name}" for name in unused), *tracing])
    # Without CAP_SYS_RESOURCE no process may lower its oom_score_adj, and every pod would fail to start.
    return f"""version = 2
root = "{places.store}"
state = "{places.run / "containerd"}"
disabled_plugins = {disabled}
[grpc]
  address = "{places.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PROGRAMS}"
    conf_dir = "{places.conf / "cni"}"
"""


def _etcd(places: Places) -> dict[str, Any]:
    client, peer = f"http://127.0.0.1:{ETCD_PORT}", f"http://127.0.0.1:{ETCD_PORT + 1}"
    return {
        "name": "headrace",
        "data-dir": places.state / "etcd",
        "unsafe-no-fsync": True,  # a cluster for tests
        "log-level": "warn",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"headrace={peer}",
    }


def _apiserver(places: Places) -> dict[str, Any]:
    pki = places.pki
    return {
        "etcd-servers": f"http://127.0.0.1:{ETCD_PORT}",
        "bind-address": NODE_IP,
        "advertise-address": NODE_IP,
        "secure-port": API_PORT,
        "service-cluster-ip-range": SERVICE_NETWORK,
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "client-ca-file": pki / "ca.crt",
        "kubelet-client-certificate": pki / "apiserver-kubelet-client.crt",
        "kubelet-client-key": pki / "apiserver-kubelet-client.key",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-preferred-address-types": "InternalIP",
        "requestheader-client-ca-file": pki / "front-proxy-ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": pki / "front-proxy-client.crt",
        "proxy-client-key-file": pki / "front-proxy-client.key",
        "enable-aggregator-routing": True,
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": pki / "sa.pub",
        "service-account-signing-key-file": pki / "sa.key",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": True,
        "shutdown-delay-duration": "0s",
    }


def _controller_manager(places: Places) -> dict[str, Any]:
    own = places.conf / "controller-manager.conf"
    return {
        "kubeconfig": own,
        "authentication-kubeconfig": own,
        "authorization-kubeconfig": own,
        "bind-address": "127.0.0.1",
        "service-account-private-key-file": places.pki / "sa.key",
        "root-ca-file": places.pki / "ca.crt",
        "use-service-account-credentials": True,
        "cluster-signing-cert-file": places.pki / "ca.crt",
        "cluster-signing-key-file": places.pki / "ca.key",
        "requestheader-client-ca-file": places.pki / "front-proxy-ca.crt",
        "cluster-cidr": POD_NETWORK,
        "service-cluster-ip-range": SERVICE_NETWORK,
        "allocate-node-cidrs": False,
        "leader-elect": False,
        # Autoscalers look three times as often as by default, so that their tests wait less.
        "horizontal-pod-autoscaler-sync-period": "5s",
        # A node whose heartbeats met no API server for a minute is not one that is gone: its pods would leave their
        # Services for a moment when the API server is back.
        "node-monitor-grace-period": "2m",
    }


def _scheduler(places: Places) -> dict[str, Any]:
    own = places.conf / "scheduler.conf"
    return {
        "kubeconfig": own,
        "authentication-kubeconfig": own,
        "authorization-kubeconfig": own,
        "bind-address": "127.0.0.1",
        "leader-elect": False,
    }


def _kubelet(places: Places) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(places.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(places.pki / "kubelet-serving.crt"),
        "tlsPrivateKeyFile": str(places.pki / "kubelet-serving.key"),
        "address": NODE_IP,
        "healthzBindAddress": "127.0.0.1",
        "containerRuntimeEndpoint": f"unix://{places.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [DNS_IP],
        "clusterDomain": "cluster.local",
        "resolvConf": "/etc/resolv.conf",
        "failSwapOn": False,
        "podLogsDir": str(places.logs / "pods"),
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        # images come from archives: one that was removed could not be pulled again
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "24h",
        "nodeStatusUpdateFrequency": "4s",
        # how soon a change of a ConfigMap is seen in pods; by default within a minute
        "syncFrequency": "5s",
        "shutdownGracePeriod": "0s",
    }


def _kube_proxy(places: Places) -> dict[str, Any]:
    # By default a Service lags its pods by up to a second.
    sync = {"minSyncPeriod": "100ms", "syncPeriod": "30s"}
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(places.conf / "kube-proxy.conf")},
        "mode": "nftables",
        "clusterCIDR": POD_NETWORK,
        "hostnameOverride": NODE,
        "bindAddress": NODE_IP,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {"maxPerCore": 0},
        "nftables": sync,
        "iptables": sync,
        "nodePortAddresses": [f"{NODE_IP}/32"],
    }


def state_folders(places: Places) -> list[Path]:
    """Folders that have to be there before the start."""
    return [places.state / "etcd", places.store, places.logs, places.pids, places.conf, places.run, places.volumes]
