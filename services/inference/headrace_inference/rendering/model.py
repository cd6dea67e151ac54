"""One model of a Triton model repository, before it is written."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

DIGEST = "rendered.sha256"
"""File in a version's folder: the digest of what was rendered, which also says that the folder is ours."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """One model of the repository.

    Attributes:
        name: of the model in Triton.
        config: its config, made from Triton's own protobuf.
        files: path in the version's folder -> text.
    """

    name: str
    config: pb.ModelConfig
    files: Mapping[str, str]

    @property
    def config_text(self) -> str:
        """`config.pbtxt`."""
        return text_format.MessageToString(self.config)

    def digest(self) -> str:
        """Sha256 over everything that would be written."""
        whole = hashlib.sha256(self.config_text.encode())
        for path, text in sorted(self.files.items()):
            whole.update(f"\0{path}\0{text}".encode())
        return whole.hexdigest()

    def write(self, out: Path, version: int = 1) -> None:
        """Write it as `out/<name>/<version>`, beside older versions; the folder appears complete or not at all.

        What is there under the same number is replaced: never write a version that is in use.
        """
        folder = out / self.name
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f".{version}-{os.getpid()}-{secrets.token_hex(4)}"  # Triton takes folders with numbers only
        try:
            for path, text in {**self.files, DIGEST: self.digest() + "\n"}.items():
                target = fresh / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            config = fresh / "config.pbtxt"
            config.write_text(self.config_text, encoding="utf-8")
            config.replace(folder / "config.pbtxt")
            target = folder / str(version)
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def newest_only() -> pb.ModelVersionPolicy:
    """Triton serves the newest version, so that a new one takes over from the old one once it is loaded."""
    return pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=1))
