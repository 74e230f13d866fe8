"""Runs of the installed command on small media, and what must hold of an output folder after any of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lancedb
import media_factory as media
import numpy as np
from PIL import Image

from chaos.waiting import eventually
from dataflows import maintenance, queries
from schemas.manifest import Manifest
from schemas.settings import Settings
from schemas.tables import TABLES

PROGRAM = Path(sys.executable).with_name("asset-pipeline")
# what makes a row the only one of its kind, beside its row_id
KEYS = {
    "assets": ("job_id", "generation", "manifest_version", "state"),
    "variants": ("asset_id", "manifest_version", "name"),
    "lineage": ("job_id", "source", "target", "target_name", "stage", "step"),
    "steps": ("job_id", "stage", "step"),
    "events": ("event_id",),
}


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (96, 64)) -> Path:
    """An image of noise, another one for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def clip(path: Path, seconds: int = 6) -> Path:
    """A video with sound that is not web-friendly (4:4:4), so that its pictures are encoded, in chunks."""
    tone = media.tone(seconds, 0.1)
    pts = range(24 * seconds)
    return media.write(path, media.Clip(pts=pts, size=(256, 144), gop=12, pixel_format="yuv444p", audio=tone))


def document(path: Path) -> Path:
    """A PDF of one page, a picture."""
    Image.effect_noise((200, 200), 50).convert("RGB").save(path)
    return path


def pipeline_file(path: Path, **tables: dict[str, Any]) -> Path:
    """A pipelines file whose `default` has these tables; chunks of a second unless they say otherwise."""
    tables = {"video": {}, **tables}
    tables["video"] = {"chunk_s": 1.0, **tables["video"]}
    lines = [f"[default.{name}]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in table.items())
             for name, table in tables.items()]  # fmt: skip
    path.write_text("\n".join(lines))
    return path


@dataclass
class Place:
    """An output folder, and the environment of the command."""

    out: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str | Path, program: Sequence[str | Path] = (PROGRAM,)) -> subprocess.Popen[str]:
        """The command (by default `asset-pipeline`) in a session of its own, with both outputs piped."""
        return subprocess.Popen(
            [*map(str, program), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, env=os.environ | self.environment,
        )  # fmt: skip

    def run(self, *targets: str | Path, code: int = 0) -> dict[str, dict[str, Any]]:
        """`run --json` of targets: its rows by name, once it has ended with this exit code."""
        return self.rows("run", *targets, code=code)

    def rows(self, *arguments: str | Path, code: int = 0) -> dict[str, dict[str, Any]]:
        """A command's JSON rows by the asset's name, once it has ended with this exit code."""
        with self.started(*arguments, "--out", self.out, "--json") as running:
            output, errors = running.communicate(timeout=120)
        assert running.returncode == code, errors
        found = [json.loads(line) for line in output.splitlines()]
        return {row["asset"]: row for row in found}

    @contextmanager
    def started(self, *arguments: str | Path, program: Sequence[str | Path] = (PROGRAM,)) -> Iterator[Any]:
        """The same as `start`; it is killed where it has not ended."""
        running = self.start(*arguments, program=program)
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()
            running.communicate()

    @property
    def settings(self) -> Settings:
        """The settings of this place."""
        return Settings(out=self.out)

    def table(self, name: str) -> list[dict[str, Any]]:
        """A table's rows."""
        return queries.rows(self.settings, name)

    def files(self, pattern: str) -> list[Path]:
        """Files below the output folder."""
        return sorted(path for path in self.out.glob(pattern) if path.is_file())

    def manifests(self) -> list[Manifest]:
        """Every version of every asset's manifest."""
        return [Manifest.model_validate_json(p.read_bytes()) for p in self.files("store/manifests/*/*/*.json")]

    def inbox(self) -> list[str]:
        """The lines of the inbox."""
        return (self.out / "inbox" / "ingest.jsonl").read_text().splitlines()

    def made(self) -> tuple[list[Path], list[Path], list[Path]]:
        """Objects, results and manifests: what only work adds to."""
        names = ("objects/**/*", "results/**/*", "manifests/**/*")
        objects, results, manifests = (self.files(f"store/{name}") for name in names)
        return objects, results, manifests


def family(leader: int) -> list[int]:
    """The processes of a session that still run, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            state, _parent, _group, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(session) == leader and state != "Z":
            found.append(int(entry.name))
    return found


def interrupted(running: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
    """Exit code and outputs after a signal to the process, as a supervisor sends it."""
    running.send_signal(number)
    output, errors = running.communicate(timeout=60)
    return running.returncode, output, errors


def first_line(running: subprocess.Popen[str], with_text: str = "") -> str:
    """Waits for a line of progress that has this text."""
    assert running.stderr is not None
    for line in running.stderr:
        if with_text in line:
            return line
    raise AssertionError(f"it ended without {with_text!r}")


def check_alone(leader: int) -> None:
    """A killed flow leaves no process behind for long."""
    assert eventually(lambda: not family(leader), 5.0), f"left behind: {family(leader)}"


def check_whole(place: Place, versions: int = 1) -> None:
    """Nothing is doubled, nothing half-made: tables, manifests, objects, index, publications, scratch."""
    for name in TABLES:
        rows = place.table(name)
        for key in (("row_id",), KEYS[name]):
            counts = Counter(tuple(row[column] for column in key) for row in rows)
            assert not [k for k, count in counts.items() if count > 1], (name, key)
    manifests = place.manifests()
    per_asset = Counter(m.asset_id for m in manifests)
    assert set(per_asset.values()) <= {versions}, per_asset
    for manifest in manifests:
        check_manifest(place, manifest)
    asyncio.run(check_index(place, manifests))
    check_published(place, manifests)
    assert not place.files("store/tmp/*")
    assert asyncio.run(maintenance.verify(place.settings)).clean
    assert not [path for path in place.out.glob("scratch/*") if path.name != "models"]


def check_manifest(place: Place, manifest: Manifest) -> None:
    """A manifest's files are there, with the content that it names, and in the tables."""
    for ref in (manifest.original, *manifest.variants):
        path = place.out / "store" / "objects" / manifest.tenant / ref.sha256[:2] / ref.sha256
        assert hashlib.sha256(path.read_bytes()).hexdigest() == ref.sha256
    mine = {"asset_id": manifest.asset_id, "manifest_version": manifest.version}
    rows = [r for r in place.table("variants") if mine.items() <= r.items()]
    assert sorted(r["name"] for r in rows) == sorted(v.name for v in manifest.variants)


async def check_index(place: Place, manifests: Sequence[Manifest]) -> None:
    """The index holds the vectors that the newest manifests name, each once."""
    newest = {m.asset_id: m for m in sorted(manifests, key=lambda m: m.version)}
    named = Counter(i for m in newest.values() for ids in m.index.values() for i in ids)
    connection = await lancedb.connect_async(str(place.out / "index"))
    held: Counter[str] = Counter()
    for name in (await connection.list_tables()).tables:
        ids = (await (await connection.open_table(name)).to_arrow())["id"].to_pylist()
        assert len(set(ids)) == len(ids), name
        held.update(ids if name != "words" else ())
    assert held == named


def check_published(place: Place, manifests: Sequence[Manifest]) -> None:
    """Each version of an asset is published whole, nothing else is there, and `current` is the newest."""
    for folder in (place.out / "published").glob("*/*"):
        mine = sorted(m.version for m in manifests if m.asset_id == folder.name)
        assert sorted(p.name for p in folder.iterdir()) == ["current", *(f"v{n}" for n in mine)]
        assert (folder / "current").readlink() == Path(f"v{mine[-1]}")
        for version in folder.glob("v*"):
            named = json.loads((version / "manifest.json").read_text())["files"]
            for name, ref in named.items():
                assert hashlib.sha256((version / name).read_bytes()).hexdigest() == ref["sha256"]


def found(row: dict[str, Any]) -> dict[str, bool]:
    """Which completed steps with a result of their own a run found instead of computing them, by name."""
    kept = ("ingest", "validate", "derive", "preview", "enrich")
    steps = [s for s in row["steps"] if s["stage"] in kept and s["state"] == "completed"]
    return {f"{s['stage']}.{s['step']}": s["cached"] for s in steps}


def soon(place: Place, name: str, seconds: float = 60.0) -> bool:
    """Whether an asset whose file has this name is published within some seconds."""

    def there() -> bool:
        return any(m.record.request.source.name == name and _published(place, m) for m in place.manifests())

    until = time.monotonic() + seconds
    while not there() and time.monotonic() < until:
        time.sleep(0.1)
    return there()


def _published(place: Place, manifest: Manifest) -> bool:
    return (place.out / "published" / manifest.tenant / manifest.asset_id / "current").exists()
