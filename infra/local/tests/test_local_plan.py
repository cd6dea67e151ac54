"""The plan of a whole platform, and what it is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_kit.config.ports import BLOCK, OFFSETS, SERVICES
from headrace_local import plan, triton
from headrace_local.layout import Layout
from headrace_local.settings import Settings
from headrace_local.units import HttpProbe, PlanError, check


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A platform with an environment for Triton that has just the names."""
    venv = tmp_path / "triton-venv"
    server = venv / "lib/python3.11/site-packages/pytriton/tritonserver"
    for file in (
        "bin/tritonserver",
        "backends/python/libtriton_python.so",
        "python_backend_stubs/3.11/triton_python_backend_stub",
    ):
        (server / file).parent.mkdir(parents=True, exist_ok=True)
        (server / file).touch()
    (tmp_path / "prefix/bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text(f"home = {tmp_path}/prefix/bin\nversion_info = 3.11.2\n")
    return Settings(data_dir=tmp_path / "data", port_base=7800, triton_env=venv)


@pytest.mark.parametrize("runtime", ["process", "ray"])
def test_the_whole_plan_can_be_ordered_and_stays_in_its_block(settings, runtime):
    settings = Settings(settings.data_dir, runtime=runtime, triton_env=settings.triton_env)
    made = plan.make(settings)
    check(made.units)
    ports = [number for unit in made.units for number in unit.ports.values()]
    assert len(set(ports)) == len(ports)
    assert all(7800 <= number < 7800 + BLOCK for number in ports)
    probed = {unit.probe.port for unit in made.units if isinstance(unit.probe, HttpProbe)}
    assert probed <= set(ports), "what is asked is also kept free"
    assert made.run_id.startswith(Layout.of(settings.data_dir).identity)


def test_every_service_has_its_ports(settings):
    units = {unit.name: unit for unit in plan.make(settings).units}
    for name in SERVICES:
        wanted = {7800 + offset for port, offset in OFFSETS.items() if port.split("-")[0] == name}
        assert set(units[name].ports.values()) == wanted
        assert units[name].env["HEADRACE_DATA_DIR"] == str(settings.layout.data_dir)
        assert units[name].env["HEADRACE_CONFIG"] == str(settings.config)


def test_ports_named_in_the_config_are_followed(settings, tmp_path):
    config = tmp_path / "headrace.yaml"
    ports = "services:\n  gateway: {listen: {http_port: 18000, ops_port: 18002}}\n"
    text = settings.config.read_text().replace("services:\n", ports, 1)
    config.write_text(text.replace("  tracing: {", "  tracing: {otlp_port: 14317, ", 1))
    made = plan.make(Settings(settings.data_dir, config=config, triton_env=settings.triton_env))
    gateway = next(unit for unit in made.units if unit.name == "gateway")
    assert gateway.ports == {"gateway http": 18000, "gateway grpc": 7801, "gateway ops": 18002}
    assert gateway.probe.port == 18002
    assert made.facts["url"] == "http://127.0.0.1:18000"
    assert made.facts["otlp"] == "127.0.0.1:14317"


def test_no_secret_is_in_a_plan(settings):
    assert "password@" not in repr(plan.make(settings))
    assert "--requirepass" not in repr(plan.make(settings))


def test_parts_are_chosen_by_name(settings):
    names = [unit.name for unit in plan.make(settings, ["valkey", "postgres"]).units]
    assert names == ["postgres-init", "postgres", "postgres-setup", "valkey"]
    with pytest.raises(PlanError, match="no such part: gatway; there are postgres, schema, valkey, triton, gateway"):
        plan.make(settings, ["gatway"])


def test_stores_start_without_tritons_environment(settings, tmp_path):
    bare = Settings(settings.data_dir, triton_env=tmp_path / "none")
    assert len(plan.make(bare, ["valkey"]).units) == 1
    with pytest.raises(triton.TritonError, match="there is no environment for Triton"):
        plan.make(bare)


def test_triton_is_shown_plain_paths(settings, tmp_path):
    def paths(data_dir: Path) -> tuple[str, dict[str, str]]:
        layout = Layout.of(data_dir)
        unit = triton.unit(layout, triton.environment(settings.triton_env), (1, 2, 3), "/bin", "")
        return next(word for word in unit.argv if word.startswith("--model-repository=")), unit.links

    plain, links = paths(tmp_path / "data")
    assert plain == f"--model-repository={tmp_path}/data/triton/models"
    assert links == {}
    odd, links = paths(tmp_path / "it's a $folder")
    ((link, target),) = links.items()
    assert odd == f"--model-repository={link}/models"
    assert target == f"{tmp_path}/it's a $folder/triton"


def test_tritons_backend_is_linked_and_follows_its_environment(settings, tmp_path):
    layout = Layout.of(settings.data_dir)
    there = triton.environment(settings.triton_env)
    assert there.version == "3.11"
    assert there.library_dir is None
    triton.link_backend(layout, there)
    triton.link_backend(layout, there)
    folder = layout.triton / "backends/python"
    assert sorted(path.name for path in folder.iterdir()) == ["libtriton_python.so", "triton_python_backend_stub"]
    assert all(path.is_symlink() and path.exists() for path in folder.iterdir())

    (tmp_path / "prefix/lib").mkdir()
    (tmp_path / "prefix/lib/libpython3.11.so.1.0").touch()
    assert triton.environment(settings.triton_env).library_dir == tmp_path / "prefix/lib"


def test_a_python_without_a_stub_is_refused(settings):
    (settings.triton_env / "lib/python3.11").rename(settings.triton_env / "lib/python3.14")
    with pytest.raises(triton.TritonError, match=r"for Python 3\.14: its environment needs 3\.11 or 3\.12"):
        triton.link_backend(settings.layout, triton.environment(settings.triton_env))
