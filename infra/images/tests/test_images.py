"""The recipe of the images, read as text; and what the builder makes of its arguments."""

from __future__ import annotations

import json
import re
import tomllib

import pytest

from infra.images import engines, plan, sbom
from infra.images.__main__ import CONTAINERFILE, options
from infra.images.plan import IMAGES, ROOT

STAGE = re.compile(r"^FROM (\S+)(?: AS (\S+))?$", re.MULTILINE)


def stages():
    """name -> (what it is from, its text)."""
    text = re.sub(r"\\\n", " ", CONTAINERFILE.read_text())
    found = list(STAGE.finditer(text))
    ends = [one.start() for one in found[1:]] + [len(text)]
    return {one[2]: (one[1], text[one.end() : end]) for one, end in zip(found, ends, strict=True)}


@pytest.mark.parametrize("image", IMAGES.values(), ids=lambda image: image.name)
def test_every_image_has_a_stage_and_a_lock_with_hashes(image):
    assert image.target in stages()
    lock = (ROOT / image.lock).read_text()
    pinned = re.findall(r"^[\w.-]+==", lock, re.MULTILINE)
    assert pinned
    assert lock.count("--hash=sha256:") >= len(pinned)
    assert "://" not in lock


@pytest.mark.parametrize("lock", sorted({image.lock for image in IMAGES.values()} - {"requirements/triton.lock"}))
def test_no_image_installs_pip(lock):
    assert not re.search(r"^(pip|setuptools|wheel|uv-build)==", (ROOT / lock).read_text(), re.MULTILINE)


def test_every_from_is_pinned():
    known = set(stages())
    for source, _ in stages().values():
        assert source in known or source == "scratch" or source == "${PYTHON}", source
    default = re.search(r"^ARG PYTHON=(\S+)$", CONTAINERFILE.read_text(), re.MULTILINE)[1]
    assert re.search(r":3\.11[\w.-]*$|@sha256:", default)


@pytest.mark.parametrize("target", sorted({image.target for image in IMAGES.values()}))
def test_last_stages_only_copy(target):
    """Nothing is installed or run where an image takes shape, so nothing that installs can be in it."""
    source, text = stages()[target]
    assert source == "runtime"
    assert not re.search(r"^(RUN|ADD|USER)\b", text, re.MULTILINE)
    assert "--from=builder" not in text


def test_what_runs_is_not_root():
    _, text = stages()["runtime"]
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)


def test_packages_are_installed_by_hash_and_never_built():
    text = re.sub(r"\\\n", " ", CONTAINERFILE.read_text())
    for line in [line for line in text.splitlines() if "pip " in line and " install " in line]:
        for install in re.findall(r"-m pip (?:--python \S+ )?install (.*?)(?:&&|$)", line):
            assert "--require-hashes" in install or "--no-index" in install, install


def test_the_ray_image_has_the_ray_that_the_services_are_locked_to():
    def ray(lock):
        return re.search(r"^ray==(\S+)", (ROOT / lock).read_text(), re.MULTILINE)

    assert ray("requirements/images/ray.lock")[1] == ray("requirements/services.lock")[1]
    assert all(ray(image.lock) is None for image in IMAGES.values() if image.name != "ray")


@pytest.mark.parametrize("image", [image for image in IMAGES.values() if image.name != "triton"], ids=lambda i: i.name)
def test_locks_agree_with_the_one_lock_of_the_services(image):
    def versions(lock):
        return set(re.findall(r"^([\w.-]+==[\w.+-]+)", (ROOT / lock).read_text(), re.MULTILINE))

    assert versions(image.lock) <= versions("requirements/services.lock")


def test_labels_say_what_and_of_what():
    made = options(IMAGES["gateway"], "localhost/headrace/gateway:1", "0.1.0")
    labels = dict(word.split("=", 1) for word in made if word.startswith("org.opencontainers.image."))
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels["org.opencontainers.image.revision"])
    assert {"title", "created", "licenses", "base.name"} <= {
        name.removeprefix("org.opencontainers.image.") for name in labels
    }
    assert plan.version() == "0.1.0"


def test_pip_settings_keep_what_reaches_an_index_and_the_last_of_a_name():
    listed = "global.index-url='a'\n:env:.index-url='b'\nglobal.quiet='1'\nglobal.trusted-host='one\\ntwo'\n"
    assert engines.pip_settings(listed) == "[global]\nindex-url = b\ntrusted-host = one\n  two\n"


def test_an_engine_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(engines.NoEngine, match="docker, podman, buildah"):
        engines.find()


def test_contents_list_both_kinds_of_packages(tmp_path):
    info = tmp_path / "lib" / "python3.11" / "site-packages" / "some_thing-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: Some_Thing\nVersion: 1.2\nLicense-Expression: MIT\n")
    status = (
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
    )
    found = [*sbom.python_packages([tmp_path]), *sbom.debian_packages(status)]
    assert [one["purl"] for one in found] == ["pkg:pypi/some-thing@1.2", "pkg:deb/debian/libc6@2.36?arch=amd64"]
    made = sbom.document("headrace-gateway", "0.1.0", found)
    assert json.loads(json.dumps(made))["specVersion"] == "1.5"
    assert found[0]["licenses"] == [{"expression": "MIT"}]


def _needs(folder):
    """Names of our own packages that one of ours depends on."""
    asked = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]["dependencies"]
    return {match[0] for line in asked if (match := re.match(r"headrace(?:-\w+)?", line))}


@pytest.mark.parametrize("recipe", sorted((ROOT / "requirements" / "images").glob("*.in")), ids=lambda path: path.stem)
def test_an_image_has_all_of_our_packages_that_those_in_it_need(recipe):
    """Nothing else notices: no package of ours is in a lock, and a checkout has them all."""
    folders = re.findall(r"^-e ([^\s[]+)", recipe.read_text(), re.MULTILINE)
    there = {tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]["name"] for folder in folders}
    needed = {name for folder in folders for name in _needs(folder)}
    assert needed <= there, f"requirements/images/{recipe.name} lacks {needed - there}"
