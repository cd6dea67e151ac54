"""What the documents name exists: paths, links, make targets, `headrace` commands."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import typer.main
import yaml

from headrace.cli.app import app
from headrace_kit.config import parse

ROOT = Path(__file__).parents[2]
SKIPPED = (".venv", ".venv-triton", ".tools", ".headrace", "node_modules", ".git")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"^[\w.*{},-]+(/[\w.*{},-]*)+$")
MADE_LATER = (".headrace", ".venv", ".tools", "build/", "headrace.yaml", "evals/")
"""What commands make, or what stands for the reader's own file."""


@cache
def documents() -> list[Path]:
    found = [path for path in ROOT.rglob("*.md") if not any(part in SKIPPED for part in path.relative_to(ROOT).parts)]
    return sorted(path for path in found if "site-packages" not in path.parts)


def named() -> list[object]:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in documents()]


@pytest.mark.parametrize("document", named())
def test_links_resolve(document):
    broken = []
    for target in LINK.findall(FENCE.sub("", document.read_text())):
        path, _, anchor = target.partition("#")
        if path.startswith(("http:", "https:", "mailto:")):
            continue
        aim = (document.parent / path).resolve() if path else document
        if not aim.exists() or (anchor and aim.suffix == ".md" and anchor not in anchors(aim)):
            broken.append(target)
    assert broken == []


@cache
def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/guides").glob("*.md")),
]


@pytest.mark.parametrize("document", PAGES, ids=lambda path: path.name)
def test_paths_in_backticks_exist(document):
    missing = []
    for text in CODE.findall(FENCE.sub("", document.read_text())):
        module = text.replace("/", ".")
        if PATH.match(text) and not text.startswith((*MADE_LATER, "v1/")) and not text.startswith("headrace."):
            if not exists(text):
                missing.append(text)
        elif re.fullmatch(r"headrace(_\w+)?(\.(?!yaml)\w+)+(:\w+)?", module) and not importable(module):
            missing.append(text)
    assert missing == []


def exists(text: str) -> bool:
    """A path from the root, or below a package or service; `{a,b}` and `*` stand for several."""
    options = [text]
    while any("{" in option for option in options):
        options = [
            option.replace(found[0], part, 1)
            for option in options
            for found in [re.search(r"\{([^}]*)\}", option)]
            if found
            for part in found[1].split(",")
        ]
    return all(any(ROOT.glob(option.rstrip("/"))) for option in options)


def importable(text: str) -> bool:
    """A module, or a name in one, of one of our packages."""
    parts = text.split(":")[0].split(".")
    homes = [folder for pattern in ("libs/*", "services/*", "infra/local") for folder in ROOT.glob(pattern)]
    home = next((folder / parts[0] for folder in homes if (folder / parts[0]).is_dir()), None)
    if home is None:
        return parts[0] == "headrace" and len(parts) > 1 and (ROOT / "protos" / Path(*parts[:3])).exists()
    for index, part in enumerate(parts[1:], 1):
        if (home / part).is_dir():
            home = home / part
            continue
        source = home / f"{part}.py" if (home / f"{part}.py").exists() else home / "__init__.py"
        left = parts[index + 1 :] if source.stem == part else parts[index:]
        return source.exists() and all(re.search(rf"\b{name}\b", source.read_text()) for name in left[:1])
    return True


@cache
def commands() -> set[tuple[str, ...]]:
    def walk(group, path=()):
        for name, command in group.commands.items():
            yield (*path, name)
            if hasattr(command, "commands"):
                yield from walk(command, (*path, name))

    return set(walk(typer.main.get_command(app)))


@pytest.mark.parametrize("document", named())
def test_commands_are_real(document):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = document.read_text()
    shown = [line for block in FENCE.findall(text) for line in block.splitlines()] + CODE.findall(FENCE.sub("", text))
    wrong = []
    for line in shown:
        words = [word for word in line.split("#")[0].split() if not re.match(r"^[A-Z_]+=", word)]
        if words[:1] == ["make"] and len(words) > 1 and words[1] not in targets:
            wrong.append(line)
        if words[:1] == ["headrace"] and len(words) > 1 and words[1].isalpha() and words[1].islower():
            group = any(len(command) > 1 and command[0] == words[1] for command in commands())
            named_command = tuple(words[1:3]) if group else (words[1],)
            several = any(sign in word for word in named_command for sign in "|\\")
            if named_command not in commands() and not several:
                wrong.append(line)
    assert wrong == []


def test_the_inference_guides_config_is_valid(tmp_path):
    """Its YAML blocks together are one config, in which each engine's options are checked."""
    config = config_of("docs/guides/inference.md")
    engines = {deployment.engine for deployment in config.deployments.values()}
    assert engines >= {"triton-llamacpp", "llamacpp", "triton-tensorrtllm", "triton-vllm", "vllm", "sglang", "litellm"}


def test_the_routing_guides_config_is_valid():
    config = config_of("docs/guides/routing.md")
    assert {model.routing.choose for model in config.models.values()} == {"weighted", "least_finish_time"}
    assert any(entry.when for model in config.models.values() for entry in model.deployments)
    assert any(tenant.bounded for tenant in config.tenants.values())


def test_the_budgets_guides_config_is_valid():
    [tenant] = config_of("docs/guides/budgets.md").tenants.values()
    assert [(budget.usd, budget.per, budget.fail) for budget in tenant.budget] == [
        (5, "day", "closed"),
        (50, "month", "closed"),
    ]
    assert tenant.limits.tokens_per_minute == 200_000


def test_the_cascades_guides_config_is_valid():
    config = config_of("docs/guides/cascades.md")
    assert config.models["assistant"].cascade[0].accept.early is not None
    assert config.models["assistant"].low_confidence is not None
    assert config.models["led"].learned is not None


def test_the_rollouts_guides_config_is_valid():
    rollout = config_of("docs/guides/rollouts.md").rollouts["assistant"]
    assert rollout.steps[0].evaluate and rollout.steps[1].shadow and rollout.steps[4].approval
    assert rollout.analysis is not None and rollout.schedule is not None and rollout.freeze


def config_of(guide):
    """The YAML blocks of a guide, together as one config."""
    whole: dict[str, dict[str, object]] = {}
    for block in re.findall(r"^```yaml\n(.*?)^```", (ROOT / guide).read_text(), re.M | re.S):
        for section, entries in yaml.safe_load(block).items():
            whole.setdefault(section, {}).update(entries)
    return parse(yaml.safe_dump(whole), "guide")
