"""Whether the copies of what manifests say agree with them: the index, the tables, and what is published."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from dataflows.connections import opened_index
from dataflows.problems import Kept, Problem, Version, digest_of, problem
from dataflows.tables import scan
from schemas.errors import State
from schemas.events import PUBLICATION
from schemas.settings import Settings
from schemas.tables import TABLES
from sinks.channels import CURRENT, MANIFEST

COLUMNS = {
    "assets": ["job_id", "manifest_version", "state", "code"],
    "variants": ["sha256"],
    "lineage": ["stage"],
    "steps": ["stage", "step", "result_id", "code"],
    "events": ["type", "code", "data"],
}

USED_COLUMNS = {
    "usage_events": ["row_id", "asset_id"],
    "usage_assets": ["row_id", "asset_id"],
    "usage_tenants": ["row_id"],
}


async def index(settings: Settings, kept: Kept) -> list[Problem]:
    """Each current manifest's moments are in a space and among the words, and no others."""
    async with opened_index(settings) as held:
        vectors, words = await held.entries()
    wanted = {entry: v.asset_id for v in kept.current().values() for entry in v.index}
    there = vectors.keys() & words.keys()
    missing = {asset for entry, asset in wanted.items() if entry not in there}
    extra = {asset for entry, asset in (vectors | words).items() if entry not in wanted}
    return [problem("index_missing", a) for a in sorted(missing)] + [problem("index_extra", a) for a in sorted(extra)]


def tables(settings: Settings, kept: Kept) -> tuple[int, list[Problem]]:
    """How many rows there are; each is there once, and they say what the manifests say."""
    found = {name: _rows(settings, name) for name in TABLES}
    problems = [p for name, rows in found.items() for p in (*doubled(name, rows), *buried(name, rows, kept))]
    checks = {"assets": _assets, "variants": _variants, "lineage": _lineage, "steps": _steps}
    for name, check in checks.items():
        problems += check(found[name].to_dicts(), kept)
    problems += _receipts(settings, found["events"], kept)
    used = {name: scan(settings, name).select(*columns).collect() for name, columns in USED_COLUMNS.items()}
    problems += [p for name, rows in used.items() for p in (*doubled(name, rows), *buried(name, rows, kept))]
    return sum(rows.height for rows in (*found.values(), *used.values())), problems


def _rows(settings: Settings, name: str) -> pl.DataFrame:
    found = scan(settings, name).select("row_id", "asset_id", *COLUMNS[name])
    if name == "events":
        found = found.with_columns(pl.when(type=PUBLICATION).then("data").alias("data"))
    return found.collect()


def doubled(name: str, rows: pl.DataFrame) -> list[Problem]:
    """Rows whose id is there more than once."""
    twice = rows.filter(pl.col("row_id").is_duplicated())["row_id"].unique(maintain_order=True)
    return [problem("row_doubled", f"{name} {row_id}") for row_id in twice]


def buried(name: str, rows: pl.DataFrame, kept: Kept) -> Iterator[Problem]:
    """Rows of deleted assets."""
    if "asset_id" not in rows.columns:
        return
    gone = rows.filter(pl.col("asset_id").is_in(list(kept.tombstones.assets)))
    assets = {row["asset_id"] for row in gone.to_dicts() if kept.tombstones.cover_row(row)}
    yield from (problem("deletion_unfinished", a, f"table {name}") for a in sorted(assets))


def _assets(rows: list[dict[str, Any]], kept: Kept) -> Iterator[Problem]:
    ended = {(row["asset_id"], row["job_id"]) for row in rows}
    for version in kept.current().values():
        if (version.asset_id, version.job_id) not in ended:
            yield problem("row_missing", version.asset_id, "table assets")
    for row in rows:
        key = row["asset_id"], row["manifest_version"]
        if row["state"] == State.COMPLETED and key not in kept.versions:
            yield problem("row_extra", row["asset_id"], f"table assets, version {key[1]}")


def _variants(rows: list[dict[str, Any]], kept: Kept) -> Iterator[Problem]:
    told = {row["row_id"]: row["sha256"] for row in rows}
    for version in kept.versions.values():
        if version.variants.keys() - told.keys():
            yield problem("row_missing", version.asset_id, f"table variants, version {version.number}")
        elif any(told[row_id] != sha256 for row_id, sha256 in version.variants.items()):
            yield problem("row_differs", version.asset_id, f"table variants, version {version.number}")
    wanted = {row_id for version in kept.versions.values() for row_id in version.variants}
    yield from _extra("variants", rows, wanted)


def _lineage(rows: list[dict[str, Any]], kept: Kept) -> Iterator[Problem]:
    told = {row["row_id"] for row in rows}
    for version in kept.versions.values():
        if version.edges - told:
            yield problem("row_missing", version.asset_id, f"table lineage, version {version.number}")
    wanted = {row_id for version in kept.versions.values() for row_id in version.edges}
    yield from _extra("lineage", [row for row in rows if row["stage"] != "publish"], wanted)


def _steps(rows: list[dict[str, Any]], kept: Kept) -> Iterator[Problem]:
    told: defaultdict[str, set[tuple[str, str, str]]] = defaultdict(set)
    for row in rows:
        told[row["asset_id"]].add((row["stage"], row["step"], row["result_id"]))
    for version in kept.versions.values():
        if version.steps - told[version.asset_id]:
            yield problem("row_missing", version.asset_id, f"table steps, version {version.number}")


def _extra(name: str, rows: list[dict[str, Any]], wanted: set[str]) -> list[Problem]:
    assets = {row["asset_id"] for row in rows if row["row_id"] not in wanted}
    return [problem("row_extra", a, f"table {name}") for a in sorted(assets)]


def _receipts(settings: Settings, events: pl.DataFrame, kept: Kept) -> Iterator[Problem]:
    """Every receipt of the folder channel has its folder."""
    for row in events.filter(type=PUBLICATION).to_dicts():
        receipt = json.loads(row["data"])
        place = receipt["tenant"], receipt["asset_id"], f"v{receipt['manifest_version']}"
        published = (receipt["asset_id"], receipt["manifest_version"]) in kept.versions
        if receipt["channel"] == "folder" and published and not settings.below("published", *place).is_dir():
            yield problem("publication_missing", "/".join(place))


def publications(settings: Settings, kept: Kept) -> Iterator[Problem]:
    """Each published folder is of a manifest, and holds the files that its own list names, byte for byte."""
    root = settings.below("published")
    for folder in sorted(root.glob("*/*/v*")):
        version = kept.versions.get((folder.parent.name, int(folder.name.removeprefix("v"))))
        subject = folder.relative_to(root)
        if version is None:
            yield problem("publication_extra", subject)
        elif seen := _differs(folder, version):
            yield problem("publication_changed", subject, seen)
    for link in sorted(root.glob(f"*/*/{CURRENT}")):
        if not link.is_dir():
            yield problem("publication_missing", link.relative_to(root))


def _differs(folder: Path, version: Version) -> str:
    """What is not as the bundle's list says, or ""."""
    try:
        told = json.loads((folder / MANIFEST).read_bytes())
        listed = {name: ref["sha256"] for name, ref in told["files"].items()}
        identity = told["asset_id"], told["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{MANIFEST} cannot be read"
    if identity != (version.asset_id, version.number):
        return f"{MANIFEST} is another's"
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
    if wrong := there ^ listed.keys():
        return ", ".join(sorted(wrong))
    return ", ".join(sorted(name for name, sha256 in listed.items() if digest_of(folder / name)[0] != sha256))
