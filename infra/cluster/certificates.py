"""The cluster's certificates and the kubeconfigs that hold them: made once, for as long as the state lives."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.cluster.places import API_PORT, API_SERVICE_IP, NODE, NODE_IP, Places

_LIFE = datetime.timedelta(days=3650)
_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
USERS = {
    "admin": ("kubernetes-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", None),
    "scheduler": ("system:kube-scheduler", None),
    "kube-proxy": ("system:kube-proxy", None),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
}
"""Who has a kubeconfig: common name and organisation."""


class Authority:
    """A certificate authority, its key kept in memory while it signs."""

    def __init__(self, folder: Path, name: str, subject: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _subject(subject, None)
        builder = _builder(self._name, self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        self._certificate = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        _write(folder, name, self._key, self._certificate)

    def issue(
        self, name: str, common: str, organisation: str | None, usage: x509.ObjectIdentifier, also: Sequence[str]
    ) -> None:
        """Write `<name>.crt` and `<name>.key`; `also` are DNS names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_subject(common, organisation), self._name, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if also:
            builder = builder.add_extension(x509.SubjectAlternativeName([_name(one) for one in also]), critical=False)
        _write(self._folder, name, key, builder.sign(self._key, hashes.SHA256()))


def make(places: Places) -> None:
    """Make everything, unless it is there."""
    if places.kubeconfig.exists():
        return
    folder = places.pki
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    places.conf.mkdir(parents=True, exist_ok=True)
    ca, front = Authority(folder, "ca", "kubernetes-ca"), Authority(folder, "front-proxy-ca", "front-proxy-ca")
    domain = ["", ".default", ".default.svc", ".default.svc.cluster.local"]
    names = [f"kubernetes{part}" for part in domain] + ["localhost", API_SERVICE_IP, NODE_IP, "127.0.0.1"]
    ca.issue("apiserver", "kube-apiserver", None, _SERVER, names)
    ca.issue("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters", _CLIENT, ())
    ca.issue("kubelet-serving", f"system:node:{NODE}", "system:nodes", _SERVER, (NODE, NODE_IP))
    front.issue("front-proxy-client", "front-proxy-client", None, _CLIENT, ())
    signing = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "sa.key").write_bytes(_pem(signing))
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / "sa.pub").write_bytes(signing.public_key().public_bytes(serialization.Encoding.PEM, public))
    for user, (common, organisation) in USERS.items():
        ca.issue(user, common, organisation, _CLIENT, ())
        if user != "admin":
            _kubeconfig(places, user)
    _kubeconfig(places, "admin")  # last: it tells that all is there


def _kubeconfig(places: Places, user: str) -> None:
    def data(path: str) -> str:
        return base64.b64encode((places.pki / path).read_bytes()).decode()

    cluster = {"server": f"https://{NODE_IP}:{API_PORT}", "certificate-authority-data": data("ca.crt")}
    client = {"client-certificate-data": data(f"{user}.crt"), "client-key-data": data(f"{user}.key")}
    path = places.conf / f"{user}.conf"
    path.touch(mode=0o600)
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": NODE, "cluster": cluster}],
                "users": [{"name": user, "user": client}],
                "contexts": [{"name": NODE, "context": {"cluster": NODE, "user": user}}],
                "current-context": NODE,
            }
        )
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + _LIFE)


def _subject(common: str, organisation: str | None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)] if organisation else []
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _write(folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    path = folder / f"{name}.key"
    path.touch(mode=0o600)
    path.write_bytes(_pem(key))
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
