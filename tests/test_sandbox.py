"""What a worker cannot do, tried from inside one."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import faults
import numpy as np
import pytest
from pebble.common import Result, ResultStatus

from operators import results, sandbox, seccomp
from operators.pools import Lane, Pools
from operators.results import RefusedResult
from schemas.errors import AssetError, Code, State

pytestmark = pytest.mark.skipif(not sandbox.complete(), reason="this kernel has no Landlock or no seccomp")


@pytest.fixture(scope="module")
def pools() -> Iterator[Pools]:
    pools = Pools({"light": Lane(2)})
    pools.start()
    yield pools
    pools.close()


def refusal(pools: Pools, fn: Any, *args: Any, **options: Any) -> str:
    """The detail of the error with which a task in the sandbox ends."""
    with pytest.raises(AssetError) as refused:
        asyncio.run(pools.run("light", fn, *args, **options))
    assert refused.value.code == "internal"
    return refused.value.detail


def test_network_is_refused(pools: Pools) -> None:
    """A worker cannot reach a server that listens on this machine, nor make any socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "PermissionError" in refusal(pools, faults.connect, server.getsockname()[1])
    assert "PermissionError" in refusal(pools, faults.open_unix_socket)


def test_only_its_input_can_be_read(pools: Pools, tmp_path: Path) -> None:
    """A worker reads the file it was given, but not its neighbour, nor the machine's or a checkout's."""
    given, other = tmp_path / "given", tmp_path / "other"
    given.write_bytes(b"media")
    other.write_bytes(b"another tenant's")
    assert asyncio.run(pools.run("light", faults.read, given, read=[given])) == b"media"
    for path in (other, Path("/etc/passwd"), Path(__file__), Path(f"/proc/{os.getpid()}/environ")):
        assert "PermissionError" in refusal(pools, faults.read, path, read=[given])


def test_only_its_scratch_can_be_written(pools: Pools, tmp_path: Path) -> None:
    """A worker writes in its scratch folder, and neither beside it nor over its input."""
    scratch, given = tmp_path / "scratch", tmp_path / "given"
    scratch.mkdir()
    given.write_bytes(b"media")
    assert asyncio.run(pools.run("light", faults.write, scratch / "out", 10, scratch=scratch)) == 2**16
    for path in (tmp_path / "beside", given):
        assert "PermissionError" in refusal(pools, faults.write, path, 10, read=[given], scratch=scratch)
    assert "Error" in refusal(pools, faults.rename, scratch / "out", tmp_path / "out", scratch=scratch)
    assert given.read_bytes() == b"media"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["given", "scratch"]


def test_scratch_holds_no_links_and_files_keep_their_mode(pools: Pools, tmp_path: Path) -> None:
    """A worker can neither lay a link for its reader, nor change the mode of a file that it may only read."""
    scratch, given = tmp_path / "scratch", tmp_path / "given"
    scratch.mkdir()
    given.touch(mode=0o640)
    assert "PermissionError" in refusal(pools, faults.link, Path("/etc"), scratch / "way", scratch=scratch)
    assert "PermissionError" in refusal(pools, faults.change_mode, given, read=[given])
    assert given.stat().st_mode & 0o777 == 0o640


def test_no_other_process(pools: Pools) -> None:
    """A worker cannot fork, start a program or signal the flow; its own threads work."""
    for fn in (faults.fork, faults.start_program):
        assert "PermissionError" in refusal(pools, fn)
    assert "PermissionError" in refusal(pools, faults.kill, os.getpid())
    assert asyncio.run(pools.run("light", faults.thread_works)) == 1


def test_environment_holds_no_secrets(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's environment is a short list of harmless names, also where the kernel shows it."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    names, raw = asyncio.run(pools.run("light", faults.environment))
    harmless = {"HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "OPENBLAS_NUM_THREADS", "SVT_LOG"}
    assert {n for n in names if not n.startswith(("PYTHON", "LC_", "LANG", "MALLOC_"))} <= harmless
    assert b"hunter2" not in raw and b"PATH=" not in raw.replace(b"PYTHONPATH=", b"").replace(b"LD_LIBRARY_PATH=", b"")


def test_a_worker_starts_in_its_scratch_with_the_lanes_niceness(tmp_path: Path) -> None:
    """The working folder is the scratch folder, and the lane decides how far the process steps back."""
    pools = Pools({"heavy": Lane(1, nice=3)})
    pools.start()
    try:
        place, nice = asyncio.run(pools.run("heavy", faults.places, scratch=tmp_path))
    finally:
        pools.close()
    assert (Path(place), nice) == (tmp_path.resolve(), os.getpriority(os.PRIO_PROCESS, 0) + 3)


def test_start_fails_where_the_kernel_cannot_help(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """Without Landlock or seccomp the pools refuse to start, or start with a warning if that is asked for."""
    monkeypatch.setattr(sandbox, "complete", lambda: False)
    with pytest.raises(RuntimeError, match="require_sandbox"):
        Pools({}).start()
    Pools({}, require_sandbox=False).start()
    assert "without it" in caplog.text


def test_available_says_what_is_guarded() -> None:
    """The report names Landlock's version and each part."""
    assert sandbox.available()["landlock"] >= 1
    assert set(sandbox.available()) == {"landlock", "files", "network", "signals", "seccomp"}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_filter_is_well_formed(machine: str) -> None:
    """On both machines every jump of the filter lands inside it, and it ends by allowing."""
    code = seccomp.program(machine, 1)
    steps = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]
    jumps = [(at, step) for at, step in enumerate(steps) if step[0] & 7 == 5]
    assert all(at + 1 + max(step[1], step[2]) < len(steps) for at, step in jumps)
    assert steps[-1] == (0x06, 0, 0, 0x7FFF0000)


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_answers_are_values_only(tmp_path: Path) -> None:
    """Arrays and our own records come back from a worker; what would run code is refused, not run."""
    array = np.arange(6.0).reshape(2, 3)
    value = {"rate": Fraction(30000, 1001), "path": Path("a"), "set": {1}}
    assert results.loads(pickle.dumps(value)) == value
    assert np.array_equal(results.loads(pickle.dumps(array)), array)
    code = Code(State.FAILED, True, "Try again.")
    assert results.loads(pickle.dumps(code)) == code
    with pytest.raises(RefusedResult):
        results.loads(pickle.dumps(_Evil(tmp_path / "made")))
    for name in (b"coperators.kernel\nchecked\n.", b"coperators.kernel\nos.system\n.", b"cbuiltins\neval\n."):
        with pytest.raises(RefusedResult):
            results.loads(name)
    assert not (tmp_path / "made").exists()


def test_a_worker_that_answers_with_code_fails_its_task_alone(pools: Pools, tmp_path: Path) -> None:
    """A task whose value is refused ends with an error, and the next one works."""
    assert "may not answer" in refusal(pools, faults.answer_with_code, str(tmp_path / "made"))
    assert not (tmp_path / "made").exists()
    assert asyncio.run(pools.run("light", faults.echo, 5)) == 5


def test_answers_of_a_wrong_shape_are_refused() -> None:
    """A forged message is an error of its own, not a watcher's that dies."""
    reader, writer = results.Context().Pipe()
    with reader, writer:
        wrong: tuple[Any, ...] = ("text", Result(ResultStatus.FAILURE, "no exception"))
        for forged in wrong:
            writer.send(forged)
            with pytest.raises(RefusedResult):
                reader.recv()
        writer.send(Result(ResultStatus.SUCCESS, 1))
        assert reader.recv().value == 1


def test_an_answer_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that begins an answer and never ends it cannot hold the flow's thread."""
    monkeypatch.setattr(results, "_MESSAGE_S", 0.05)
    reader, writer = results.Context().Pipe()
    with reader, writer:
        os.write(writer.fileno(), struct.pack("!i", 1000) + b"begun")
        with pytest.raises(OSError, match="stalled"):
            reader.recv()
