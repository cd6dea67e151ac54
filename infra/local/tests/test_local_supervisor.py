"""The supervisor with real, trivial processes."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from headrace_local import control, processes
from headrace_local.units import HttpProbe, TcpProbe, Unit


def shell(name: str, script: str, **options) -> Unit:
    return Unit(name=name, argv=("sh", "-c", script), **options)


FOREVER = "exec sleep 1000"


def test_units_start_in_order_and_stop_in_the_opposite_one(supervised, tmp_path: Path):
    story = tmp_path / "story"
    script = 'echo "+{0}" >> {1}; trap \'echo "-{0}" >> {1}; exit 0\' TERM; while :; do sleep 0.05; done'
    supervised.start(
        shell("front", script.format("front", story), after=("schema",), uses=("side",)),
        shell("side", script.format("side", story)),
        shell("schema", f'echo "+schema" >> {story}', kind="task", after=("store",)),
        shell("store", script.format("store", story)),
    )
    supervised.until("schema", "done")
    supervised.until("front", "ready")
    supervised.eventually(lambda: len(story.read_text().split()) == 4)
    assert supervised.stop() == 0
    lines = story.read_text().split()
    assert lines.index("+store") < lines.index("+schema") < lines.index("+front")
    assert lines.index("-front") < lines.index("-store")
    assert lines.index("-front") < lines.index("-side")
    assert not supervised.layout.state.exists()


def test_a_killed_service_is_started_again(supervised):
    supervised.start(shell("store", FOREVER))
    first = supervised.until("store", "ready")
    os.kill(first.pid, signal.SIGKILL)
    second = supervised.until("store", "ready", restarts=1)
    assert second.pid != first.pid
    assert second.last_exit == "ended by SIGKILL"


def test_a_service_that_never_comes_up_is_given_up(supervised):
    supervised.start(shell("broken", "echo no such thing >&2; exit 3", probe=TcpProbe(1)))
    unit = supervised.until("broken", "failed")
    assert unit.last_exit == "exit code 3"
    assert supervised.said("broken") == "no such thing\n" * 3


def test_a_program_that_is_not_there_is_given_up(supervised):
    supervised.start(Unit(name="ghost", argv=("/no/such/program",)))
    assert "could not be started" in supervised.until("ghost", "failed").last_exit


def test_a_failed_task_holds_back_what_needs_it(supervised):
    supervised.start(shell("schema", "exit 1", kind="task"), shell("front", FOREVER, after=("schema",)))
    supervised.until("schema", "failed")
    assert supervised.unit("front").phase == "waiting"
    assert supervised.run().failed == ["schema"]
    assert supervised.stop() == 0


def test_a_task_begins_a_new_log(supervised):
    supervised.start(shell("schema", "echo once", kind="task"))
    supervised.until("schema", "done")
    supervised.stop()
    supervised.start(shell("schema", "echo twice", kind="task"))
    supervised.until("schema", "done")
    assert supervised.said("schema") == "twice\n"
    assert supervised.layout.log("schema").with_name("schema.log.1").read_text() == "once\n"


def test_a_service_is_ready_when_its_probe_says_so(supervised, tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    go = tmp_path / "go"
    serve = f"while [ ! -e {go} ]; do sleep 0.02; done; exec {sys.executable} -m http.server --bind 127.0.0.1 {port}"
    supervised.start(shell("web", serve, probe=TcpProbe(port)), shell("next", FOREVER, after=("web",)))
    supervised.until("web", "starting")
    assert supervised.unit("next").phase == "waiting"
    go.touch()
    supervised.until("web", "ready")
    supervised.until("next", "ready")


def test_a_service_that_is_silent_for_too_long_is_killed_and_started_again(supervised):
    supervised.start(shell("slow", FOREVER, probe=TcpProbe(1), start_s=0.2))
    unit = supervised.until("slow", "starting", restarts=1)
    assert unit.last_exit == "killed: silent for 0.2 s after its start"


def test_a_service_that_answers_busy_is_left_to_wait(supervised, tmp_path: Path):
    (tmp_path / "readyz").mkdir()  # the server answers 301 to a folder's name
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    serve = f"cd {tmp_path}; exec {sys.executable} -m http.server --bind 127.0.0.1 {port}"
    supervised.start(shell("web", serve, probe=HttpProbe(port), start_s=1))
    supervised.eventually(lambda: supervised.said("web").count("/readyz") > 20)
    assert supervised.unit("web").phase == "starting"
    (tmp_path / "readyz").rmdir()
    (tmp_path / "readyz").touch()
    supervised.until("web", "ready")
    assert supervised.unit("web").restarts == 0


def test_a_service_that_ignores_its_stop_signal_is_killed(supervised):
    supervised.start(shell("deaf", "trap '' TERM; echo on; while :; do sleep 0.05; done", stop_s=0.3))
    supervised.eventually(lambda: supervised.said("deaf"))
    assert supervised.stop() == 0
    assert supervised.leftovers() == {}


def test_no_grandchild_outlives_its_service(supervised, tmp_path: Path):
    pids = tmp_path / "pids"
    script = f"setsid sleep 1000 & echo $! >> {pids}; sleep 1000 & echo $! >> {pids}; exec sleep 1000"
    supervised.start(shell("parent", script), shell("other", FOREVER))
    supervised.eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    os.kill(supervised.until("parent", "ready").pid, signal.SIGKILL)
    supervised.until("parent", "ready", restarts=1)
    first = [int(pid) for pid in pids.read_text().split()[:2]]
    assert [processes.started(pid) for pid in first] == [None, None]
    assert supervised.unit("other").restarts == 0


def test_an_orphan_of_a_running_service_is_left_alone_and_reaped_when_it_ends(supervised, tmp_path: Path):
    pids = tmp_path / "pids"
    # the daemon's parent exits at once, so the supervisor inherits it
    script = f"sh -c 'setsid sleep 1000 & echo $! > {pids}'; exec sleep 1000"
    supervised.start(shell("parent", script), shell("other", FOREVER))
    orphan = int(supervised.eventually(lambda: pids.exists() and pids.read_text().strip()))
    os.kill(supervised.until("other", "ready").pid, signal.SIGKILL)
    supervised.until("other", "ready", restarts=1)
    assert processes.started(orphan) is not None
    os.kill(orphan, signal.SIGKILL)
    supervised.eventually(lambda: not Path(f"/proc/{orphan}").exists())


def test_nothing_outlives_a_killed_supervisor(supervised):
    supervised.start(shell("one", FOREVER), shell("two", FOREVER, stop_signal=signal.SIGINT))
    supervised.until("one", "ready")
    supervised.until("two", "ready")
    supervised.process.kill()
    supervised.process.wait()
    supervised.eventually(lambda: not supervised.leftovers())


def test_what_does_outlive_it_is_found_and_ended_by_the_next(supervised, tmp_path: Path):
    on = tmp_path / "on"
    # a process of another session whose parent is gone gets no signal when the supervisor dies
    supervised.start(shell("parent", f"sh -c 'setsid sleep 1000 & touch {on}'; exec sleep 1000"))
    supervised.eventually(on.exists)
    supervised.process.kill()
    supervised.process.wait()
    supervised.eventually(lambda: len(supervised.leftovers()) == 1)
    assert processes.end_leftovers(supervised.layout.identity) == ["parent"]
    assert supervised.leftovers() == {}


def test_stale_files_are_removed_before_the_start_and_after_the_end(supervised, tmp_path: Path):
    (tmp_path / "region-old").touch()
    (tmp_path / "other").touch()
    script = f"ls {tmp_path}; touch {tmp_path}/region-new; {FOREVER}"
    supervised.start(shell("shm", script, stale_files=(f"{tmp_path}/region-*",)))
    supervised.eventually((tmp_path / "region-new").exists)
    assert "region-old" not in supervised.said("shm")
    supervised.stop()
    assert not (tmp_path / "region-new").exists()
    assert (tmp_path / "other").exists()


def test_links_are_there_while_the_unit_runs(supervised, tmp_path: Path):
    link = tmp_path / "own" / "link"
    supervised.start(shell("linked", f"cat {link}/word; exec sleep 1000", links={str(link): str(tmp_path)}))
    (tmp_path / "word").write_text("found")
    supervised.ask("restart_unit", "linked")
    supervised.eventually(lambda: supervised.said("linked").endswith("found"))
    supervised.stop()
    assert not (tmp_path / "own").exists()


def test_a_link_in_a_folder_of_others_is_not_made(supervised, tmp_path: Path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    supervised.start(shell("linked", FOREVER, links={str(tmp_path / "open" / "link"): "/"}))
    assert "must belong to this user alone" in supervised.until("linked", "failed").last_exit
    assert not (tmp_path / "open" / "link").is_symlink()


def test_units_stop_start_and_restart_on_request(supervised):
    supervised.start(shell("store", FOREVER))
    first = supervised.until("store", "ready")
    supervised.ask("stop_unit", "store")
    assert supervised.unit("store").phase == "stopped"
    assert processes.started(first.pid) is None
    supervised.ask("start_unit", "store")
    second = supervised.until("store", "ready")
    supervised.ask("restart_unit", "store")
    supervised.eventually(lambda: supervised.unit("store").pid not in (None, second.pid))
    assert supervised.until("store", "ready").restarts == 0, "on request is no restart after a fault"


def test_a_failed_unit_can_be_started_once_it_is_mended(supervised, tmp_path: Path):
    mended = tmp_path / "mended"
    supervised.start(shell("schema", f"test -e {mended}", kind="task"), shell("front", FOREVER, after=("schema",)))
    supervised.until("schema", "failed")
    mended.touch()
    supervised.ask("start_unit", "schema")
    supervised.until("front", "ready")


def test_requests_need_the_token_and_a_known_unit(supervised):
    supervised.start(shell("store", FOREVER))
    port = supervised.run().control_port
    with pytest.raises(control.ControlError, match="wrong token"):
        control.ask(port, "guess", "stop")
    with pytest.raises(control.ControlError, match="no unit named stroe; there are store"):
        supervised.ask("restart_unit", "stroe")
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(b"garbage\n")
        assert b"error" in raw.recv(1000)
    supervised.until("store", "ready")


def test_the_state_file_is_private(supervised):
    supervised.start(shell("store", FOREVER))
    assert supervised.layout.state.stat().st_mode & 0o777 == 0o600
