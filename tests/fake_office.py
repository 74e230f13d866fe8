"""A program that stands for LibreOffice where it is not installed: it copies a prepared PDF, or does worse."""

from __future__ import annotations

from pathlib import Path

HEAD = """#!/bin/bash
while [ $# -gt 1 ]; do [ "$1" = --outdir ] && out=$2; shift; done
source=$1
echo "$(basename "$source") $(wc -c < "$source")" > "$out/seen"
"""


def fake_office(folder: Path, pdf: bytes, then: str = 'cp "$(dirname "$0")/made.pdf" "$out/document.pdf"') -> Path:
    """The program `fake-soffice` in a folder of its own; `then` is what its script does, after noting its document."""
    folder.mkdir()
    (folder / "made.pdf").write_bytes(pdf)
    program = folder / "fake-soffice"
    program.write_text(f"{HEAD}{then}\n")
    program.chmod(0o755)
    return program
