"""The local event log and its source: durable appends, torn lines, resuming, following."""

from __future__ import annotations

import itertools
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, run_main
from flow_fixtures import AT_ONCE, run_flow  # noqa: F401

from operators.gate import Gate, gated
from sources.inbox import Inbox, InboxSource, Line


def inbox_flow(source: Any, out: list[Any]) -> Dataflow:
    flow = Dataflow("inbox")
    op.output("out", op.input("in", flow, source), TestingSink(out))
    return flow


def values(lines: list[Line]) -> list[bytes]:
    return [line.value for line in lines]


def test_lines_come_in_order_with_their_offsets(tmp_path: Path, run_flow):  # noqa: F811
    """Every line comes once, raw and in order, with the offset where it lies in the file."""
    out: list[Line] = []
    inbox = Inbox(tmp_path / "in" / "log")
    inbox.append([b"one", b"\xff\xfe", b"x" * 2_000_000])
    inbox.append(b"%d" % n for n in range(40))
    run_flow(inbox_flow(InboxSource(inbox.path), out))
    assert values(out) == [b"one", b"\xff\xfe", b"x" * 2_000_000, *(b"%d" % n for n in range(40))]
    data = inbox.path.read_bytes()
    assert all(data[line.offset :].startswith(line.value + b"\n") for line in out)


@pytest.mark.parametrize("torn", [b'{"half', b"y" * 200_000])
def test_a_torn_line_never_comes(tmp_path: Path, torn: bytes):
    """A line without its newline is not handed on, and the next append replaces it with a fresh line."""
    out: list[Line] = []
    inbox = Inbox(tmp_path / "log")
    inbox.append([b"whole"])
    with inbox.path.open("ab") as file:
        file.write(torn)
    run_main(inbox_flow(InboxSource(inbox.path), out))
    assert values(out) == [b"whole"]
    inbox.append([b"next"])
    assert inbox.path.read_bytes() == b"whole\nnext\n"


def test_a_log_of_one_torn_line_is_emptied(tmp_path: Path):
    """A crash during the very first append leaves nothing behind."""
    inbox = Inbox(tmp_path / "log")
    inbox.path.write_bytes(b"half")
    inbox.append([b"first"])
    assert inbox.path.read_bytes() == b"first\n"


def test_a_newline_is_refused(tmp_path: Path):
    """A line with a newline would be two events; nothing of its batch is written."""
    with pytest.raises(ValueError, match="newline"):
        Inbox(tmp_path / "log").append([b"a", b"b\nc"])
    assert not (tmp_path / "log").exists()


def test_reading_resumes_at_the_offset(tmp_path: Path):
    """With a recovery store a second run reads only what was appended since."""
    (tmp_path / "r").mkdir()
    init_db_dir(tmp_path / "r", 1)
    inbox, recovery = Inbox(tmp_path / "log"), RecoveryConfig(tmp_path / "r")
    for part in ([b"1", b"2"], [b"3"], []):
        inbox.append(part)
        out: list[Line] = []
        run_main(inbox_flow(InboxSource(inbox.path), out), epoch_interval=AT_ONCE, recovery_config=recovery)
        assert values(out) == part


def test_a_log_that_shrank_is_refused(tmp_path: Path):
    """An offset past the end belongs to another log: reading on would lose events without a word."""
    Inbox(tmp_path / "log").append([b"1"])
    with pytest.raises(ValueError, match="not the same log"):
        InboxSource(tmp_path / "log").build_part("in", "inbox", 99)


def test_appends_at_once_stay_whole(tmp_path: Path):
    """Writers on several handles never mix their lines."""
    inbox = Inbox(tmp_path / "log")
    lines = [[b"%d-%d" % (writer, n) * 50 for n in range(20)] for writer in range(4)]

    def write(part: list[bytes]) -> None:
        for line in part:
            inbox.append([line])

    threads = [threading.Thread(target=write, args=(part,)) for part in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(inbox.path.read_bytes().splitlines()) == sorted(itertools.chain(*lines))


def test_following_waits_for_more_until_drained(tmp_path: Path):
    """With follow the flow goes on as lines come, and a drain ends it."""
    out: list[Line] = []
    inbox, gate = Inbox(tmp_path / "log"), Gate(10)

    def react(line: Line) -> Line:
        if line.value == b"first":
            inbox.append([b"second"])
        else:
            gate.drain()
        return line

    inbox.append([b"first"])
    flow = Dataflow("follow")
    lines = op.input("in", flow, gated(InboxSource(inbox.path, follow=True), gate))
    op.output("out", op.map("react", lines, react), TestingSink(out))
    run_main(flow, epoch_interval=timedelta(milliseconds=50))
    assert values(out) == [b"first", b"second"]
