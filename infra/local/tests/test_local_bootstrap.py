"""Environments are made once, made again when something changed, and what is missing is named."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parents[1]

FAKE_UV = """#!/bin/sh
echo "$*" >> {calls}
if [ "$1" = venv ]; then
  for venv; do :; done
  mkdir -p "$venv/bin" && printf '#!/bin/sh\\n' > "$venv/bin/python" && chmod +x "$venv/bin/python"
fi
"""


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, for a working copy in `tmp_path` with one package and a uv that only takes notes."""
    monkeypatch.syspath_prepend(str(HERE))
    spec = importlib.util.spec_from_file_location("headrace_bootstrap", HERE / "bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    root = tmp_path / "copy"
    for folder in ("requirements", "libs/kit", ".tools"):
        (root / folder).mkdir(parents=True)
    (root / "libs/kit/pyproject.toml").write_text("[project]\n")
    for lock in ("services", "dev", "triton", "vllm"):
        (root / f"requirements/{lock}.lock").write_text(f"{lock}==1\n")
    fake = tmp_path / "uv"
    program(fake, FAKE_UV.format(calls=tmp_path / "calls"))
    monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(module, "TOOLS", root / ".tools")
    monkeypatch.setattr(module, "VENV", root / ".venv")
    monkeypatch.setattr(module, "TRITON_VENV", root / ".venv-triton")
    monkeypatch.setattr(module, "VLLM_VENV", root / ".venv-vllm")
    monkeypatch.setattr(module, "real_uv", module.uv, raising=False)
    monkeypatch.setattr(module, "uv", lambda: str(fake))
    return module


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def calls(tmp_path: Path) -> list[str]:
    """First words of uv's calls since the last look."""
    path = tmp_path / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [" ".join(line.split()[:2]) if line.startswith("pip") else line.split()[0] for line in lines]


def services(module: ModuleType) -> None:
    python = module.Python(sys.executable, (3, 11), shared=True)
    module.ensure(module.VENV, "services", lambda: python, also=("dev",))


def test_an_environment_is_made_once(bootstrap, tmp_path):
    services(bootstrap)
    assert calls(tmp_path) == ["venv", "pip install", "pip install"]
    services(bootstrap)
    assert calls(tmp_path) == []


@pytest.mark.parametrize("file", ["requirements/services.lock", "libs/kit/pyproject.toml"])
def test_a_changed_lock_or_package_is_installed_into_it(bootstrap, tmp_path, file):
    services(bootstrap)
    calls(tmp_path)
    (bootstrap.ROOT / file).write_text("other\n")
    services(bootstrap)
    assert calls(tmp_path) == ["pip install", "pip install"]


def test_the_larger_environment_serves_the_smaller_lock_but_not_the_other_way(bootstrap, tmp_path):
    python = bootstrap.Python(sys.executable, (3, 11), shared=True)
    bootstrap.ensure(bootstrap.VENV, "dev", lambda: python)
    calls(tmp_path)
    services(bootstrap)
    assert calls(tmp_path) == []
    (bootstrap.ROOT / "requirements/dev.lock").write_text("other\n")
    services(bootstrap)
    calls(tmp_path)
    bootstrap.ensure(bootstrap.VENV, "dev", lambda: python)
    assert calls(tmp_path) == ["pip install", "pip install"]


def test_an_environment_whose_working_copy_was_moved_is_made_again(bootstrap, tmp_path):
    services(bootstrap)
    calls(tmp_path)
    stamp = bootstrap.VENV / "headrace-stamp.json"
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "root": "/elsewhere"}))
    services(bootstrap)
    assert calls(tmp_path)[0] == "venv"


def test_a_broken_environment_is_made_again(bootstrap, tmp_path):
    services(bootstrap)
    calls(tmp_path)
    (bootstrap.VENV / "bin/python").unlink()
    services(bootstrap)
    assert calls(tmp_path)[0] == "venv"


def test_an_interrupted_install_is_finished(bootstrap, tmp_path, monkeypatch):
    program(tmp_path / "uv", "#!/bin/sh\nexit 1\n")
    with pytest.raises(bootstrap.Missing, match="this command failed"):
        services(bootstrap)
    program(tmp_path / "uv", FAKE_UV.format(calls=tmp_path / "calls"))
    services(bootstrap)
    assert "pip install" in calls(tmp_path)


def test_uv_comes_by_pip_where_there_is_no_venv_module(bootstrap, tmp_path, monkeypatch):
    python = tmp_path / "python"
    program(
        python,
        """#!/bin/sh
[ "$2" = venv ] && { echo "ensurepip is not available" >&2; exit 1; }
for target; do :; done
mkdir -p "$target/bin"; touch "$target/bin/uv"
""",
    )
    monkeypatch.setattr(sys, "executable", str(python))
    assert bootstrap.real_uv() == str(bootstrap.TOOLS / "uv/bin/uv")
    python.unlink()
    assert bootstrap.real_uv() == str(bootstrap.TOOLS / "uv/bin/uv"), "what is there is used"


def test_without_venv_and_pip_it_is_said_what_to_install(bootstrap, tmp_path, monkeypatch):
    python = tmp_path / "python"
    program(python, '#!/bin/sh\necho "No module named $2" >&2; exit 1\n')
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(bootstrap.Missing) as caught:
        bootstrap.real_uv()
    message = str(caught.value)
    assert "No module named venv" in message
    assert "No module named pip" in message
    assert "apt-get install python3-venv" in message
    assert not (bootstrap.TOOLS / "uv").exists()


def fake_python(path: Path, version: str, library_dir: Path) -> None:
    answer = json.dumps([str(path), [int(part) for part in version.split(".")], str(library_dir)])
    program(path, f"#!/bin/sh\necho '{answer}'\n")


@pytest.fixture
def pythons(bootstrap, tmp_path, monkeypatch) -> Path:
    """An empty PATH to put interpreters on; no system libraries, no interpreter of a version manager."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere/python3"))
    monkeypatch.setattr(bootstrap, "_system_libraries", str)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return folder


def test_triton_gets_the_first_python_that_runs_and_has_its_library(bootstrap, pythons, tmp_path):
    program(pythons / "python3.11", "#!/bin/sh\necho 'no such version' >&2; exit 127\n")  # a version manager's shim
    fake_python(pythons / "python3", "3.13", tmp_path / "lib")
    fake_python(pythons / "python3.12", "3.12", tmp_path / "lib")
    program(tmp_path / "lib/libpython3.12.so.1.0", "")
    program(tmp_path / "lib/libpython3.13.so.1.0", "")
    assert bootstrap.triton_python().path == str(pythons / "python3.12")


def test_a_python_whose_library_is_missing_is_fetched_by_uv(bootstrap, pythons, tmp_path):
    fake_python(pythons / "python3.11", "3.11", tmp_path)
    assert bootstrap.triton_python() is None
    assert calls(tmp_path) == ["python"]


def test_vllm_gets_the_first_python_that_it_has_wheels_for(bootstrap, pythons, tmp_path):
    assert bootstrap.vllm_python() is None
    fake_python(pythons / "python3", "3.13", tmp_path)
    fake_python(pythons / "python3.12", "3.12", tmp_path)
    assert bootstrap.vllm_python().path == str(pythons / "python3.12")


def test_vllm_is_in_an_environment_of_its_own_without_our_packages(bootstrap, tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "vllm_python", lambda: bootstrap.Python(sys.executable, (3, 11), shared=False))
    assert bootstrap.main(["vllm"]) == 0
    assert calls(tmp_path) == ["venv", "pip install"]
    assert json.loads((bootstrap.VLLM_VENV / "headrace-stamp.json").read_text())["lock"] == "vllm"
    assert not bootstrap.VENV.exists()


@pytest.mark.parametrize(
    ("there", "advice"),
    [(True, "apt-get install libpython3.11"), (False, "apt-get install python3.11 libpython3.11")],
)
def test_it_is_said_what_triton_lacks(bootstrap, pythons, tmp_path, there, advice):
    program(tmp_path / "uv", "#!/bin/sh\necho 'no network' >&2; exit 1\n")
    if there:
        fake_python(pythons / "python3.11", "3.11", tmp_path)
    with pytest.raises(bootstrap.Missing) as caught:
        bootstrap.triton_python()
    message = str(caught.value)
    assert advice in message
    assert "no network" in message
    assert ("libpython3.11.so.1.0" in message) is there


def run_shell(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder}:{os.defpath}"
    return subprocess.run(
        ["/bin/sh", str(HERE / "bootstrap.sh"), *words], env={"PATH": path}, capture_output=True, text=True, check=False
    )


def test_the_script_passes_over_names_that_do_not_run(tmp_path):
    program(tmp_path / "python3.11", "#!/bin/sh\nexit 127\n")
    chosen = f'#!/bin/sh\n[ "$1" = -c ] || echo "chosen $2"\nexec {sys.executable} "$@"\n'
    program(tmp_path / "python3.12", chosen)
    done = run_shell(tmp_path)
    assert done.returncode == 0
    assert "chosen" in done.stdout


def test_the_script_says_that_no_python_will_do(tmp_path):
    for name in ("python3.11", "python3.12", "python3.13", "python3"):
        program(tmp_path / name, "#!/bin/sh\nexit 1\n")
    done = run_shell(tmp_path, "services")
    assert done.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr
    assert "make up PYTHON=" in done.stderr
