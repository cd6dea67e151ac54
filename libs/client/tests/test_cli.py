"""The `headrace` command against a fake platform behind real sockets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from headrace.cli._chart import bars
from headrace.cli.app import app
from headrace.types import Trace

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def run(fake, monkeypatch):
    """Run a command against the fake; returns the result, whose exit code must be as told."""
    monkeypatch.setenv("HEADRACE_URL", fake.url)
    monkeypatch.setenv("HEADRACE_API_KEY", "hr_team")
    monkeypatch.setenv("HEADRACE_ADMIN_KEY", "hr_admin")

    def call(*arguments: str, code: int = 0, stdin: str | None = None):
        result = CliRunner().invoke(app, list(arguments), input=stdin)
        assert result.exit_code == code, result.output + repr(result.exception)
        return result

    return call


def test_chat_streams_then_cites_counts_and_names_the_trace(run, fake):
    out = run("chat", "--collection", "handbook", "--max-tokens", "8", "How many?").stdout
    answer, *rest = out.splitlines()
    assert answer == "27 days of leave"
    assert rest[0] == '[1] handbook leave.md 9-28 "27 days of paid leave"'
    assert rest[1] == f"assistant on small · 12 tokens in, 3 out · $0.000012 · trace {TRACE_ID}"
    assert fake.seen[0].body["headrace"] == {"collections": ["handbook"]}
    assert fake.seen[0].body["max_tokens"] == 8


def test_chat_reads_stdin(run, fake):
    assert run("chat", "-q", "--system", "Be brief.", stdin="How many?\n").stdout == "27 days of leave\n"
    assert [turn["content"] for turn in fake.seen[0].body["messages"]] == ["Be brief.", "How many?\n"]
    run("chat", "-", stdin="Again\n")
    assert fake.seen[1].body["messages"][0]["content"] == "Again\n"
    assert "nothing to ask" in run("chat", stdin="  ", code=1).stderr


def test_chat_as_json(run):
    answer = json.loads(run("chat", "--json", "How many?").stdout)
    assert answer["choices"][0]["message"]["content"] == "27 days"
    assert answer["headrace"]["citations"][0]["span"] == {"start": 9, "end": 28}


def test_an_answer_that_breaks_off_keeps_its_text_and_fails(run, fake):
    del fake.events[2:]
    result = run("chat", "How many?", code=1)
    assert result.stdout == "27 days of leave\n"
    assert result.stderr.startswith("headrace: the stream")


def test_ingest_takes_files_globs_and_folders(run, fake):
    Path("docs/deep").mkdir(parents=True)
    Path("docs/.hidden").mkdir()
    Path("docs/.hidden/no.md").write_text("no")
    Path("docs/a.md").write_text("# A\nText.")
    Path("docs/deep/b.txt").write_text("\ufeffB")
    Path("docs/picture.png").write_bytes(b"\x89PNG\0\xff")
    Path("docs/latin.txt").write_bytes(b"caf\xe9")
    Path("docs/void.md").write_text("\n")
    result = run("ingest", "handbook", "docs", "docs/*.md")
    assert result.stdout == "2 documents in handbook, searchable\n"
    assert sorted(result.stderr.splitlines()) == [
        "skipped docs/latin.txt: not text",
        "skipped docs/picture.png: not text",
        "skipped docs/void.md: empty",
    ]
    assert fake.seen[0].query == {"wait": "true"}
    assert fake.seen[0].body["documents"] == [
        {"id": "docs/a.md", "text": "# A\nText.", "title": "a.md", "content_type": "text/markdown"},
        {"id": "docs/deep/b.txt", "text": "B", "title": "b.txt", "content_type": "text/plain"},
    ]


def test_ingest_uploads_what_the_platform_reads(run, fake):
    Path("docs").mkdir()
    Path("docs/leave.pdf").write_bytes(b"%PDF-1.4 \x00\xff")
    result = run("ingest", "handbook", "docs", "--user", "ana")
    assert result.stdout == "1 document in handbook, searchable\n"
    sent = fake.seen[0]
    assert sent.headers["content-type"].startswith("multipart/form-data")
    for part in (b'filename="leave.pdf"', b"%PDF-1.4 \x00\xff", b"docs/leave.pdf", b'{"users":["ana"]}'):
        assert part in sent.raw


def test_ingest_sends_batches_and_rights(run, fake):
    for number in range(120):
        Path(f"n{number:03}.txt").write_text("x" * 100)
    Path("large.txt").write_text("y" * 1_900_000)
    out = run("ingest", "handbook", ".", "--no-wait", "--group", "staff", "--json").stdout
    report = json.loads(out)
    assert len(report["documents"]) == 121 and report["jobs"] == ["j1", "j1"]
    assert [len(seen.body["documents"]) for seen in fake.seen] == [100, 21]
    assert fake.seen[0].query == {"wait": "false"}
    assert fake.seen[0].body["documents"][5]["acl"] == {"groups": ["staff"]}


def test_ingest_says_what_it_cannot_take(run, fake, tmp_path):
    assert "nowhere.md: no such file" in run("ingest", "handbook", "nowhere.md", code=1).stderr
    Path("void.md").touch()
    assert "none of these files" in run("ingest", "handbook", "void.md", code=1).stderr
    for name in ("one", "two"):
        (tmp_path.parent / f"{tmp_path.name}-{name}").mkdir()
        (tmp_path.parent / f"{tmp_path.name}-{name}" / "same.md").write_text("text")
    clash = run("ingest", "handbook", f"{tmp_path}-one/same.md", f"{tmp_path}-two/same.md", code=1)
    assert "another file has the id 'same.md'" in clash.stderr
    assert fake.seen == []


def test_search_is_a_table(run, fake):
    lines = run("search", "handbook", "leave", "--top-k", "3", "--mode", "bm25", "--explain").stdout.splitlines()
    assert lines[0].split() == ["score", "document", "place", "text", "stages"]
    assert lines[1].split()[:3] == ["0.9000", "leave.md", "0-36"]
    assert "bm25=3.5000" in lines[1]
    assert fake.seen[0].body == {"query": "leave", "top_k": 3, "mode": "bm25", "explain": True}
    assert json.loads(run("search", "handbook", "leave", "--json").stdout)[0]["document_id"] == "leave.md"


def test_traces_show_is_one_tree(run):
    lines = run("traces", "show", TRACE_ID).stdout.splitlines()
    assert lines[0] == f"trace {TRACE_ID}  41.5 ms  12 in, 3 out  $0.000012  ok"
    assert lines[1].lstrip("└─ ") == "gateway chat assistant  41.5 ms"
    assert lines[2].lstrip(" ├─") == "retrieval Search  4.0 ms"
    assert lines[3].lstrip(" └─") == (
        "inference GenerateStream  30.2 ms  12 in, 3 out  $0.000012  error the slot was lost"
    )
    assert len(lines) == 4
    assert json.loads(run("traces", "show", TRACE_ID, "--json").stdout)["spans"][2]["service"] == "retrieval"


def test_a_thinned_trace_says_so_and_is_not_waited_for(run, fake, answers):
    summary = {"trace_id": TRACE_ID, "spans": 3, "spans_thinned": 2}
    left = [{"span_id": "b", "parent_span_id": "a", "service": "s", "name": "n"}]
    fake.answers.append(answers[1](200, {"trace_id": TRACE_ID, "spans": left, "summary": summary}))
    lines = run("traces", "show", TRACE_ID).stdout.splitlines()
    assert "2 spans are gone" in lines[1] and len(fake.seen) == 1


def test_a_trace_is_kept(run, fake, answers):
    assert run("traces", "keep", TRACE_ID).stdout == "kept with its 3 spans\n"
    assert (fake.seen[-1].method, fake.seen[-1].path) == ("POST", f"/v1/traces/{TRACE_ID}/keep")
    assert json.loads(run("traces", "keep", TRACE_ID, "--json").stdout)["saved"]
    fake.answers.append(answers[1](200, {"trace_id": TRACE_ID, "spans": 3, "spans_thinned": 3}))
    assert "3 of its 3 spans were gone" in run("traces", "keep", TRACE_ID).stdout


def test_traces_are_listed_by_every_filter_of_the_api(run, fake, answers):
    row = {"trace_id": TRACE_ID, "model": "assistant", "question": "How many days of leave do we have this year?"}
    fake.answers.append(answers[1](200, {"object": "list", "data": [row]}))
    listed = run("traces", "list", "--where", "user=ada", "--where", "label=retried", "--model", "assistant").stdout
    assert "How many days of leave do we have this …" in listed
    assert dict(fake.seen[-1].query) | {"limit": "20"} == {
        "limit": "20", "user": "ada", "label": "retried", "model": "assistant",
    }  # fmt: skip
    fake.answers.append(answers[1](200, {"object": "list", "data": []}))
    assert "no trace is like that" in run("traces", "list", "--where", "user=ada").stdout
    assert "'ada' is not name=value" in run("traces", "list", "--where", "ada", code=2).output


def test_a_trace_that_has_just_begun_is_waited_for(run, fake, answers):
    late = {"trace_id": TRACE_ID, "spans": [{"span_id": "b", "parent_span_id": "a", "service": "s", "name": "n"}]}
    fake.answers += [answers[0](404, "not_found_error", "trace_not_found", "no such trace"), answers[1](200, late)]
    assert "chat assistant" in run("traces", "show", TRACE_ID).stdout
    assert len(fake.seen) == 3
    fake.answers.append(answers[0](404, "not_found_error", "trace_not_found", "no such trace"))
    assert "see: headrace traces list" in run("traces", "show", TRACE_ID, "--wait", "0", code=1).stderr


def test_a_span_without_its_parent_and_a_cycle_are_shown_or_left_out_but_never_loop():
    from headrace.cli.traces import tree

    def spans(*pairs):
        return [{"span_id": i, "parent_span_id": p, "service": "s", "name": i} for i, p in pairs]

    import msgspec

    trace = msgspec.convert({"trace_id": "t", "spans": spans(("a", "gone"), ("x", "y"), ("y", "x"))}, Trace)
    assert [str(child.label).split()[1] for child in tree(trace).children] == ["a"]


def test_lists(run, fake):
    assert run("traces", "list", "--status", "ok").stdout.splitlines()[1].startswith(TRACE_ID)
    assert fake.seen[-1].query == {"limit": "20", "status": "ok"}
    assert run("models", "list").stdout.split() == ["model", "task", "assistant", "chat", "minilm"]
    assert "handbook" in run("collections", "list").stdout
    assert run("usage", "--group-by", "day,model").stdout.split()[-8:] == (
        ["x", "x", "2", "24", "6", "$0.000024", "1", "$0.000001"]
    )
    for command in (["traces", "list"], ["models", "list"], ["collections", "list"], ["usage"]):
        assert isinstance(json.loads(run(*command, "--json").stdout), list)
    fake.answers.clear()


def test_usage_as_a_table_for_spreadsheets_and_as_a_picture(run, tmp_path):
    chart = tmp_path / "usage.svg"
    done = run("usage", "--group-by", "day,model", "--csv", "--plot", str(chart))
    assert done.stdout.splitlines() == [
        "day,model,requests,input_tokens,output_tokens,cost_usd,overhead_usd,cache_hits,saved_usd",
        "x,x,2,24,6,0.000024,0.000004,1,0.000001",
    ]
    drawn = ElementTree.parse(chart)
    assert [title.text for title in drawn.iter("{http://www.w3.org/2000/svg}title")] == ["x x: 2.4e-05"]
    for wrong in (["--csv", "--json"], ["--plot", str(tmp_path / "usage.png")], ["--plot", str(tmp_path / "no/x.svg")]):
        run("usage", *wrong, code=2)


def test_a_chart_shows_its_layers_above_each_other():
    drawn = ElementTree.fromstring(bars("a & b", "US dollars", ["mon", "tue"], [("x", [1, 0]), ("<y>", [1, 4])]))
    bar = [part for part in drawn.iter("{http://www.w3.org/2000/svg}rect") if len(part)]
    assert [part[0].text for part in bar] == ["mon x: 1", "mon <y>: 1", "tue <y>: 4"]
    assert float(bar[1].get("y")) == pytest.approx(float(bar[0].get("y")) - float(bar[1].get("height")), abs=0.11)
    assert float(bar[2].get("height")) == pytest.approx(4 * float(bar[0].get("height")), abs=0.3)
    assert "<svg" in bars("nothing", "US dollars", [], [])


def test_empty_lists_say_so(run, fake, answers):
    fake.answers.append(answers[1](200, {"data": []}))
    assert run("traces", "list").stdout == "no traces yet\n"


def test_collections_are_made_and_removed(run, fake):
    assert "headrace ingest new FILES" in run("collections", "create", "new", "--acl", "none").stdout
    assert fake.seen[-1].body == {"name": "new", "acl": "none"}
    assert json.loads(run("collections", "delete", "old", "--json").stdout) == {"deleted": "old"}


def test_a_team_sees_its_budget(run, fake):
    result = run("budget")
    assert result.stdout.splitlines()[1].split() == ["day", "$5", "$1.25", "$0.5", "$3.25", "2026-11-29T00:00:00Z"]
    assert result.stdout.endswith("limits: 60 requests per minute\n")
    assert "as known last" in result.stderr
    assert fake.seen[-1].headers["authorization"] == "Bearer hr_team"
    run("budget", "--tenant", "dev", "--json")
    assert fake.seen[-1].headers["authorization"] == "Bearer hr_admin"


def test_keys_and_rollouts_use_the_admin_key(run, fake):
    made = run("keys", "create", "dev", "ci", "--scope", "read_all")
    assert made.stdout == "hr_new\n"
    assert fake.seen[-1].body == {"tenant": "dev", "name": "ci", "scopes": ["read_all"]}
    assert json.loads(run("keys", "create", "dev", "ci", "--json").stdout)["key"] == "hr_new"
    assert "read_all" in run("keys", "list").stdout
    assert run("keys", "rotate", "k1", "--overlap", "2h").stdout == "hr_newer\n"
    assert fake.seen[-1].body == {"overlap": "2h"}
    line = run("audit", "--action", "key.", "--limit", "5").stdout.splitlines()[1]
    assert "key.revoked" in line
    assert 'revoked_at: null -> "2026-11-28T12:00:00+00:00"' in line
    assert run("keys", "limit", "k1", "--requests-per-minute", "60").stdout == "key k1 of dev: 60 requests/min\n"
    assert fake.seen[-1].body == {"limits": {"requests_per_minute": 60}}
    run("keys", "limit", "k1", "--concurrent", "0", code=2)
    assert run("keys", "revoke", "k1").stdout == "k1 is revoked\n"
    assert "5%" in run("rollouts", "list").stdout
    assert run("rollouts", "show", "ro1").stdout.startswith("ro1 · assistant · running · step 1 of 3")
    assert "promoted" in run("rollouts", "promote", "ro1").stdout
    assert "why: slow" in run("rollouts", "abort", "ro1", "--reason", "slow").stdout
    assert {seen.headers["authorization"] for seen in fake.seen} == {"Bearer hr_admin"}


def test_rollouts_are_started_approved_watched_and_explained(run, fake, tmp_path):
    assert run("rollouts", "start", "assistant", "--candidate", "small-v2").stdout.startswith("ro3 · assistant")
    assert fake.seen[-1].body["spec"]["candidate"] == {"deployment": "small-v2"}
    assert fake.seen[-1].body["spec"]["steps"][-1] == {"weight": "100%"}
    spec = tmp_path / "spec.yaml"
    spec.write_text("candidate: {guardrails: strict}\nsteps: [{weight: 100%}]\n")
    assert run("rollouts", "start", "assistant", "--spec", str(spec)).exit_code == 0
    assert fake.seen[-1].body["spec"] == {"candidate": {"guardrails": "strict"}, "steps": [{"weight": "100%"}]}
    run("rollouts", "start", "assistant", code=1)
    assert "step 1 was approved" in run("rollouts", "approve", "ro1").stdout
    assert fake.seen[-1].body == {"step": 0}
    shown = run("rollouts", "watch", "ro2").stdout
    assert "rolled_back" in shown and "errors" in shown and "0.08 … 0.4" in shown
    [line] = run("rollouts", "watch", "ro2", "--json").stdout.splitlines()
    assert json.loads(line)["verdicts"][0]["n_candidate"] == 40
    told = run("rollouts", "explain", "ro2", "--plot", str(tmp_path / "why.svg")).stdout
    assert "roll_back in step 1: beyond its margin" in told and "+0.2" in told
    drawing = (tmp_path / "why.svg").read_text()
    assert "<polygon" in drawing and "margin" in drawing and ">beyond<" in drawing
    assert json.loads(run("rollouts", "explain", "ro2", "--json").stdout)["decisions"][0]["action"] == "roll_back"
    assert "controller" in run("rollouts", "history", "ro2").stdout


CONFIG_FILE = """\
# what teams call
models:
  assistant:
    cascade: [{deployment: small}, {deployment: large}]  # cheap first
    guardrails: standard
    retry: {attempts: 2, backoff: 1s}
  other: {deployment: small}  # stays
rollouts:
  assistant:
    candidate: {deployment: small-v2}
"""


def test_rollouts_patch_is_ready_for_git(run, tmp_path):
    file = tmp_path / "headrace.yaml"
    file.write_text(CONFIG_FILE)
    change = run("rollouts", "patch", "ro2", "--file", str(file)).stdout
    assert file.read_text() == CONFIG_FILE
    (tmp_path / "change.diff").write_text(change)
    subprocess.run(["git", "apply", "change.diff"], cwd=tmp_path, check=True, capture_output=True)
    after = file.read_text()
    assert "  other: {deployment: small}  # stays\n" in after and "# what teams call" in after
    tree = YAML(typ="safe").load(after)
    assert tree["models"]["assistant"] == {"deployment": "small-v2", "retry": {"attempts": 3, "backoff": "1s"}}
    assert "rollouts" not in tree
    file.write_text("models: {}\n")
    assert "no model 'assistant'" in run("rollouts", "patch", "ro2", "--file", str(file), code=1).stderr


def test_guardrails_check(run):
    assert run("guardrails", "check", "standard", "mail a@b.com").stdout.splitlines() == [
        "mask",
        "mail [email]",
        "pii email at 5-12: mask",
    ]
    assert json.loads(run("guardrails", "check", "standard", "--json", stdin="x").stdout)["action"] == "mask"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            (401, "authentication_error", "invalid_api_key", "this API key is not known."),
            "headrace keys create TENANT NAME",
        ),
        ((403, "permission_error", "permission_denied", "no"), "HEADRACE_ADMIN_KEY"),
        ((404, "not_found_error", "model_not_found", "no model 'x'"), "see: headrace models list"),
        ((429, "rate_limit_error", "rate_limit_exceeded", "over the limit"), "try again in"),
        ((500, "server_error", "internal_error", "ours"), "(request req-1)"),
    ],
)
def test_an_error_is_one_line_with_what_to_do(run, fake, answers, answer, line):
    fake.answers += [answers[0](*answer)] * 4
    result = run("chat", "x", code=1)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith("headrace: ")
    assert answer[3].rstrip(".") in result.stderr and line in result.stderr


def test_an_error_as_json(run, fake, answers):
    fake.answers.append(answers[0](400, "invalid_request_error", "invalid_request", "from 1", "max_tokens"))
    error = json.loads(run("chat", "x", "--json", code=1).stderr)["error"]
    assert error == {
        "message": "from 1",
        "status": 400,
        "code": "invalid_request",
        "param": "max_tokens",
        "request_id": "req-1",
    }


def test_without_a_platform_it_says_how_to_start_one():
    missing = CliRunner().invoke(app, ["models", "list"])
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "HEADRACE_API_KEY" in missing.stderr and "make up" in missing.stderr
    down = CliRunner().invoke(app, ["--url", "http://127.0.0.1:1", "--api-key", "k", "models", "list"])
    assert down.exit_code == 1
    assert "nothing answers at http://127.0.0.1:1" in down.stderr and "make up" in down.stderr


def test_a_wrong_command_line_is_2(run):
    for wrong in (
        ["search", "handbook"],
        ["nonsense"],
        ["search", "h", "q", "--mode", "magic"],
        ["up", "--runtime", "moon"],
        ["serve", "nobody"],
    ):
        run(*wrong, code=2)


def test_a_surprise_is_a_line_too(run, monkeypatch):
    from headrace.sync import Headrace

    def broken(self):
        raise KeyError("x")

    monkeypatch.setattr(Headrace, "models", broken)
    assert run("models", "list", code=1).stderr.startswith("headrace: this should not happen: KeyError")


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def every_command():
    import typer.main

    return list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize(
    ("path", "command"), [pytest.param(*found, id="-".join(found[0])) for found in every_command()]
)
def test_every_command_has_an_example_that_is_a_command_line(path, command):
    examples = [line.split("Example: ", 1)[1] for line in command.help.splitlines() if "Example: " in line]
    assert examples
    for example in examples:
        words = [word for word in example.split() if "=" not in word]
        assert words[: len(path) + 1] == ["headrace", *path]


def test_config_check_names_line_and_field(run):
    Path("headrace.yaml").write_text("tenants:\n  dev: {}\nmodles: {}\n")
    result = run("config", "check", code=1)
    assert result.stderr.startswith("headrace.yaml:3: modles: unknown key; did you mean 'models'?")
    problem = json.loads(run("config", "check", "--json", code=1).stdout)["problems"][0]
    assert (problem["line"], problem["field"]) == (3, "modles")
    Path("headrace.yaml").write_text("tenants:\n  dev: {}\n")
    assert run("config", "check").stdout.startswith("headrace.yaml: valid, ")
    assert json.loads(run("config", "show").stdout)["tenants"]["dev"]["limits"]["concurrent_requests"] > 0
    assert run("config", "check", "nowhere.yaml", code=1).stderr.startswith("nowhere.yaml:")


def test_config_schema_and_reference(run):
    assert json.loads(run("config", "schema").stdout)["title"] == "headrace.yaml"
    assert run("config", "reference").stdout.startswith("# headrace.yaml\n")


def test_what_is_not_installed_is_said(run, monkeypatch):
    for module in ("headrace_local.commands", "headrace_inference.catalogue", "headrace_kit.config"):
        monkeypatch.setitem(sys.modules, module, None)
    for command in (["up"], ["status"], ["models", "files"], ["config", "check"]):
        assert "is not installed here" in run(*command, code=1).stderr


def test_starting_the_command_imports_nothing_heavy():
    heavy = "('httpx', 'grpc', 'rich.table', 'headrace_kit')"
    probe = f"import sys, headrace.cli.app; print(*[m for m in {heavy} if m in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == ""
