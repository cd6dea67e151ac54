"""Log files are rotated under their writer and read from their end."""

from __future__ import annotations

from headrace_local import logfiles


def test_a_log_is_rotated_while_it_is_written(tmp_path):
    log = tmp_path / "unit.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 10)
        assert not logfiles.rotate(log, limit_bytes=100)
        assert logfiles.rotate(log, limit_bytes=10)
        writer.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "unit.log.1").read_bytes() == b"old\n" * 10


def test_tail_gives_the_last_lines(tmp_path):
    log = tmp_path / "unit.log"
    log.write_text("".join(f"{n}\n" for n in range(1000)))
    assert logfiles.tail(log, 2) == ["998", "999"]
    assert logfiles.tail(log, 5, limit_bytes=6) == ["8", "999"]
    assert logfiles.tail(log, 5, since_byte=log.stat().st_size - 4) == ["999"]
    assert logfiles.tail(log, 5, since_byte=log.stat().st_size) == []
    assert logfiles.tail(log, 0) == []


def test_there_is_no_log_before_the_first_line(tmp_path):
    assert logfiles.tail(tmp_path / "none.log", 5) == []
    assert not logfiles.rotate(tmp_path / "none.log")
