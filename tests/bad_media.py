"""Bad input with known faults, and a run of the real command over it."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lancedb
import media_factory as make
from media_fixtures import png_bomb, quarters, tiny_pdf

from dataflows import queries
from schemas.events import DEAD_LETTER, NOTIFICATION, DeadLetter, Notification
from schemas.settings import Settings

ROOT = Path(__file__).parent.parent
PROGRAM = str(ROOT / ".venv" / "bin" / "asset-pipeline")
RUN_S = 60
# Small assets, and no models: what a run costs where only the way through the stages matters.
LEAN = '[lean]\nprofile = "none"\n[lean.limits]\nvideo_bytes = 300_000\naudio_bytes = 300_000\n\
image_bytes = 300_000\ndocument_bytes = 300_000\n'


def picture(path: Path, width: int = 120) -> Path:
    """A good picture."""
    quarters(width, 80).save(path)
    return path


def sound(path: Path) -> Path:
    """A good second of sound."""
    return make.write_sound(path, make.noise(1, 0.1), codec="flac")


def clip(path: Path) -> Path:
    """A good video of one second."""
    return make.write(path, make.Clip(pts=range(24)))


def _box(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 8 + len(data)) + name + data


def trackless() -> bytes:
    """A whole M4A (ISO/IEC 14496-12) whose index lists no tracks."""
    header = bytes(12) + struct.pack(">IIIH", 1000, 1000, 0x00010000, 0x0100) + bytes(10)
    header += struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000) + bytes(24) + struct.pack(">I", 1)
    index = _box(b"moov", _box(b"mvhd", header))
    return _box(b"ftyp", b"M4A \0\0\0\0M4A mp42isom") + index + _box(b"mdat", bytes(64))


def corrupt_pdf() -> bytes:
    """A PDF whose catalogue and pages are overwritten."""
    whole = tiny_pdf(pages=3)
    return whole.replace(b"/Pages", b"/Pigs!").replace(b"/Catalog", b"/Katalog")


def fill(folder: Path) -> Path:
    """All bad files, and good ones, one with a name that is no UTF-8; `link.png` leads out of the folder."""
    folder.mkdir()
    whole = clip(folder.parent / "whole.mp4")
    files = {
        "empty.png": b"",
        "truncated.mp4": whole.read_bytes()[: whole.stat().st_size * 6 // 10],
        "text.mp4": b"These are words, not a film.\n" * 50,
        "bomb.png": png_bomb(50_000),
        "corrupt.pdf": corrupt_pdf(),
        "locked.pdf": tiny_pdf(password=b"secret"),
        "no-stream.m4a": trackless(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    make.copy(whole, folder / "no-key-frame.mp4", skip=3)
    spoken = make.write_sound(folder.parent / "whole.wav", make.noise(2, 0.1), codec="pcm_s16le").read_bytes()
    (folder / "truncated.wav").write_bytes(spoken[: len(spoken) // 2])
    (folder / "link.png").symlink_to(picture(folder.parent / "outside.png"))
    (folder / "loop.png").symlink_to("loop.png")
    sound(folder / "good.flac")
    shutil.copy(picture(folder / "good.png"), os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    return folder


@dataclass(frozen=True)
class Ran:
    """What a run of the command left: its exit code, its rows by file name, and its output folder."""

    out: Path
    status: int
    assets: dict[str, dict[str, Any]]
    errors: str

    @property
    def settings(self) -> Settings:
        """Settings that lead to the output folder."""
        return Settings(out=self.out)

    def code(self, name: str) -> tuple[str, str]:
        """The state and code of a file's asset."""
        return self.assets[name]["state"], self.assets[name]["code"]

    def letters(self, asset_id: str) -> list[DeadLetter]:
        """The dead letters that are kept of an asset."""
        files = sorted((self.out / "store" / "dead-letters" / "default" / asset_id).glob("*.json"))
        return [DeadLetter.model_validate_json(path.read_bytes()) for path in files]

    def told(self, asset_id: str) -> list[Notification]:
        """What the asset's owner was told."""
        rows = queries.rows(self.settings, "events", [asset_id], type=NOTIFICATION)
        return [Notification.model_validate_json(row["data"]) for row in rows]

    def visible(self, asset_id: str) -> list[str]:
        """Every trace of the asset that others can see: published files, manifests, rows of what was made of it."""
        places = [
            self.out / "published" / "default" / asset_id,
            self.out / "store" / "manifests" / "default" / asset_id,
        ]
        tables = [name for name in ("variants", "lineage", "steps") if queries.rows(self.settings, name, [asset_id])]
        return [*(str(place) for place in places if place.exists()), *tables]

    def indexed(self) -> set[str]:
        """The assets that any table of the index names."""
        index = lancedb.connect(self.out / "index")
        tables = [index.open_table(path.stem).to_arrow() for path in (self.out / "index").glob("*.lance")]
        return {asset_id for table in tables for asset_id in table["asset_id"].to_pylist()}

    def half_written(self) -> list[Path]:
        """Files that no finished work leaves: in scratch, under temporary keys, or pending publications."""
        scratch = [path for path in (self.out / "scratch").rglob("*") if path.is_file()]
        folders = [path for path in (self.out / "scratch").glob("*") if path.name != "models"]
        temporary = [path for path in (self.out / "store" / "tmp").rglob("*") if path.is_file()]
        pending = [*(self.out / "published").rglob(".pending-*"), *(self.out / "store").rglob("*#*")]
        return [*scratch, *folders, *temporary, *pending]


def ended_badly(ran: Ran, name: str, state: str, code: str, attempts: int = 1) -> DeadLetter:
    """Asserts all that must hold of an asset that ended badly; returns its dead letter."""
    asset = ran.assets[name]
    assert (asset["state"], asset["code"]) == (state, code), asset["message"]
    assert asset["message"].count(" ") > 4 and ";" in asset["message"]
    assert str(ran.out.parent) not in asset["message"]
    (letter,) = ran.letters(asset["asset_id"])
    assert (letter.state, letter.code, len(letter.attempts)) == (state, code, attempts)
    assert letter.input is not None and letter.input.source.name == name
    assert letter.attempts[-1].code == code and "AssetError" in letter.attempts[-1].traceback
    (told,) = ran.told(asset["asset_id"])
    assert (told.owner, told.state, told.code, told.message) == ("local", state, code, letter.message)
    assert len(queries.rows(ran.settings, "events", [asset["asset_id"]], type=DEAD_LETTER)) == 1
    assert ran.visible(asset["asset_id"]) == []
    return letter


def environment(**given: str) -> dict[str, str]:
    """This process's environment with these settings and no others."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ASSET_PIPELINE_")}
    kept["PYTHONPATH"] = str(ROOT / "tests")
    return kept | {f"ASSET_PIPELINE_{key.upper()}": value for key, value in given.items()}


def run(out: Path, *targets: object, **given: str) -> Ran:
    """`asset-pipeline run` over the targets, with these settings; options are targets too."""
    return command([PROGRAM, "run"], out, *targets, **given)


def command(program: list[str], out: Path, *arguments: object, **given: str) -> Ran:
    """A program that prints as `asset-pipeline run --json` does: one JSON object a line on stdout, nothing else."""
    called = [*program, *map(str, arguments), "--json", "--out", str(out)]
    done = subprocess.run(called, env=environment(**given), capture_output=True, text=True, timeout=RUN_S)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return Ran(out, done.returncode, {row["asset"]: row for row in rows}, done.stderr)
