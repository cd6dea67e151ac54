"""Where the platform on this machine keeps its files.

<data dir>/            .headrace by default, 0700
├── env                KEY=VALUE lines for scripts: URLs and keys, 0600
├── secrets/           one file per secret, 0600
├── postgres/  valkey/  gateway/ ...   what the parts store
├── triton/            model repository and backend folder, rendered at each start
├── logs/<unit>.log    with one older generation, <unit>.log.1
└── run/               lock, plan and state of the run in progress
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The paths below one data directory. Nothing is created until `create()`."""

    data_dir: Path

    @classmethod
    def of(cls, data_dir: Path | str) -> "Layout":
        """The layout of a data directory, its path made absolute and free of symlinks."""
        return cls(Path(data_dir).expanduser().resolve())

    @property
    def env_file(self) -> Path:
        return self.data_dir / "env"

    @property
    def secrets(self) -> Path:
        return self.data_dir / "secrets"

    @property
    def postgres(self) -> Path:
        return self.data_dir / "postgres"

    @property
    def valkey(self) -> Path:
        return self.data_dir / "valkey"

    @property
    def triton(self) -> Path:
        return self.data_dir / "triton"

    @property
    def logs(self) -> Path:
        return self.data_dir / "logs"

    @property
    def run(self) -> Path:
        return self.data_dir / "run"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def plan(self) -> Path:
        return self.run / "plan.json"

    @property
    def state(self) -> Path:
        return self.run / "state.json"

    @property
    def identity(self) -> str:
        """Twelve hex digits that stand for this data directory in process environments and shared-memory names."""
        return hashlib.sha256(str(self.data_dir).encode()).hexdigest()[:12]

    def log(self, unit: str) -> Path:
        """The log file of a unit."""
        return self.logs / f"{unit}.log"

    def create(self) -> None:
        """Make the folders, readable by their owner alone."""
        for folder in (self.data_dir, self.secrets, self.logs, self.run):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
