"""Conversions by LibreOffice's command line: closed in, bounded, killed with all it started. A fake stands for it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path

import document_factory as made
import pypdfium2
import pytest
from fake_office import fake_office
from media_fixtures import tiny_pdf

from operators import sandbox
from operators.office import Office
from operators.sandbox import TaskLimits
from schemas.errors import AssetError

closed_in = pytest.mark.skipif(not sandbox.complete(), reason="this kernel has no Landlock or seccomp")


def convert(program: Path, scratch: Path, wall_s: float = 30.0) -> Path:
    """The PDF that the program makes of a document."""
    scratch.mkdir()
    office = Office(program, TaskLimits(wall_s=wall_s, cpu_s=20))
    return asyncio.run(office.pdf(made.word(scratch / "original"), scratch, "docx"))


def test_none_is_none() -> None:
    """Where there is no such program there is no office; where there is, it is found by its name."""
    assert Office.installed("no-such-soffice") is None
    found = Office.installed("sh")
    assert found and found.program.name == "sh"


def test_pdf_is_what_the_program_made(tmp_path: Path) -> None:
    """The program gets its own copy of the document under the extension of its format, and its PDF is taken."""
    made_ = convert(fake_office(tmp_path / "fake", tiny_pdf(2)), tmp_path / "scratch")
    assert made_.read_bytes() == tiny_pdf(2)
    name, size = (made_.parent / "seen").read_text().split()
    assert (name, int(size)) == ("document.docx", (tmp_path / "scratch/original").stat().st_size)


@pytest.mark.parametrize(
    ("then", "told"),
    [("echo broken >&2; exit 3", "status 3: broken"), ("exit 0", "status 0"),
     ('mkdir "$out/document.pdf"', "status 0"), ('ln -s "$source" "$out/document.pdf"; exit 0', "status 0")],
)  # fmt: skip
def test_failures_are_told(tmp_path: Path, then: str, told: str) -> None:
    """A program that fails, or leaves no plain file, is `office_failed`, with its last words."""
    with pytest.raises(AssetError, match="office_failed") as raised:
        convert(fake_office(tmp_path / "fake", b"", then), tmp_path / "scratch")
    assert told in raised.value.detail


def test_program_that_hangs_ends_with_what_it_started(tmp_path: Path) -> None:
    """After its time the program and its children are gone."""
    program = fake_office(tmp_path / "fake", b"", 'sleep 100 & echo $! > "$HOME/child"; sleep 100')
    with pytest.raises(AssetError, match="decoder_timeout"):
        convert(program, tmp_path / "scratch", wall_s=1.5)
    child = int((tmp_path / "scratch/office/child").read_text())
    for _ in range(100):
        if not running(child):
            break
        time.sleep(0.02)
    assert not running(child)


def running(pid: int) -> bool:
    """Whether a process runs; one that ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@closed_in
def test_program_reaches_neither_network_nor_files(tmp_path: Path) -> None:
    """The program can open no connection and read no file of ours, which the same script can when it is free."""
    (tmp_path / "secret").write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        then = (
            f'(exec 3<>/dev/tcp/127.0.0.1/{port}) && echo network >> "$out/found"; '
            f'cat {tmp_path}/secret >> "$out/found"; cp "$(dirname "$0")/made.pdf" "$out/document.pdf"'
        )
        program = fake_office(tmp_path / "fake", tiny_pdf(), then)
        pdf = convert(program, tmp_path / "scratch")
        (tmp_path / "free").mkdir()
        (tmp_path / "x.docx").write_text("x")
        subprocess.run([program, "--outdir", tmp_path / "free", tmp_path / "x.docx"], check=True)
    assert "network" in (tmp_path / "free/found").read_text() and "secret" in (tmp_path / "free/found").read_text()
    assert not (pdf.parent / "found").exists() or not (pdf.parent / "found").read_text()


@closed_in
def test_environment_is_not_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program sees no secret of the flow's environment, and its home is in the scratch folder."""
    monkeypatch.setenv("ASSET_PIPELINE_S3_SECRET_KEY", "hush")
    then = 'env > "$out/env"; cp "$(dirname "$0")/made.pdf" "$out/document.pdf"'
    pdf = convert(fake_office(tmp_path / "fake", tiny_pdf(), then), tmp_path / "scratch")
    seen = (pdf.parent / "env").read_text()
    assert "hush" not in seen and f"HOME={tmp_path}/scratch/office\n" in seen
    assert os.environ["ASSET_PIPELINE_S3_SECRET_KEY"] == "hush"


@pytest.mark.tool("soffice")
@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx", "odt", "txt"])
def test_libreoffice_itself_draws_each_kind(tmp_path: Path, kind: str) -> None:
    """Closed in as it is, the program makes a PDF whose text is the document's, and leaves nothing in /tmp."""
    write, said = {
        "docx": (made.word, "Menge"),
        "pptx": (made.slides, "Welcome, everyone"),
        "xlsx": (made.sheets, "1,234.50"),
        "odt": (made.odt, "Second page"),
        "txt": (lambda path: path.write_text("fünf", "utf-8"), "fünf"),
    }[kind]
    source = tmp_path / f"original.{kind}"
    write(source)
    sockets = set(Path("/tmp").glob("OSL_PIPE_*"))
    office = Office.installed("soffice")
    assert office is not None
    pdf = asyncio.run(office.pdf(source, tmp_path, kind))
    with closing(pypdfium2.PdfDocument(pdf)) as document:
        text = "".join(page.get_textpage().get_text_range() for page in document)
    assert said in text
    assert set(Path("/tmp").glob("OSL_PIPE_*")) == sockets


def test_a_program_that_begins_anew_is_run_again(tmp_path: Path) -> None:
    """LibreOffice ends with 81 once its profile is new; a program that always does is given up."""
    then = (
        '[ -e "$HOME/begun" ] || { touch "$HOME/begun"; exit 81; }; cp "$(dirname "$0")/made.pdf" "$out/document.pdf"'
    )
    assert convert(fake_office(tmp_path / "fake", tiny_pdf(1), then), tmp_path / "scratch").read_bytes() == tiny_pdf(1)
    with pytest.raises(AssetError, match="office_failed"):
        convert(fake_office(tmp_path / "other", b"", "exit 81"), tmp_path / "again")
