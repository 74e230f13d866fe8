"""Audits everything against everything: what was submitted, what was told, and what is kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from chaos.kept import Kept, Row
from chaos.load import COMPLETED, CONFLICT, DUPLICATE, Delivered, by_asset
from chaos.told import Endings, Told, endings
from operators.stages.rows import lineage_rows, variant_rows
from schemas.errors import State
from schemas.events import DEAD_LETTER, NOTIFICATION, PUBLICATION, STATUS
from schemas.topics import DEAD_LETTERS, OF_EVENT

# what makes a row the only one of its kind, beside its row_id
KEYS = {
    "assets": ("job_id", "generation", "manifest_version", "state"),
    "variants": ("asset_id", "manifest_version", "name"),
    "lineage": ("job_id", "source", "target", "target_name", "stage", "step", "version", "params"),
    "steps": ("job_id", "stage", "step", "result_id"),
    "events": ("event_id",),
}
_BAD = (State.FAILED, State.REJECTED)


class Kind(StrEnum):
    """Of a finding: something is missing or not as it was to be, or is there twice or left over, or else wrong."""

    LOST = "lost"
    DOUBLED = "doubled"
    WRONG = "wrong"


class Finding(NamedTuple):
    """Something that is not as it should be."""

    kind: Kind
    subject: str
    what: str


Findings = Iterator[Finding]


@dataclass
class Case:
    """What one case has left: `deleted` are the assets of which nothing may be there, `gone` their objects."""

    submitted: dict[str, Delivered]
    told: Told
    kept: Kept
    deleted: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        rows = [json.loads(row["data"]) for row in self.kept.events(STATUS)]
        self.statuses = rows
        self.endings = endings(rows, (json.loads(row["data"]) for row in self.kept.events(DEAD_LETTER)))

    def living(self) -> list[Delivered]:
        """What was submitted of assets that were not deleted."""
        return [found for found in self.submitted.values() if found.asset_id not in self.deleted]


def findings(case: Case) -> list[Finding]:
    """All that is not as it should be."""
    checks: tuple[Callable[[Case], Findings], ...] = (
        _ends, _groups, _rows, _topics, _assets, _manifests, _index, _objects, _letters, _publications, _deleted,
    )  # fmt: skip
    return [finding for check in checks for finding in check(case)]


def _lost(subject: str, what: str) -> Finding:
    return Finding(Kind.LOST, subject, what)


def _doubled(subject: str, what: str) -> Finding:
    return Finding(Kind.DOUBLED, subject, what)


def _compared(where: str, wanted: Iterable[Any], there: Iterable[Any]) -> Findings:
    """What of the wanted is not there, and what is there beside it."""
    wanted, there = set(wanted), set(there)
    yield from (_lost(where, f"{each} is missing") for each in sorted(map(str, wanted - there)))
    yield from (_doubled(where, f"{each} should not be there") for each in sorted(map(str, there - wanted)))


def _ends(case: Case) -> Findings:
    """Each event ends once, as it was to, by the table and by the topics alike."""
    for found in case.living():
        yield from _end(found, "table", case.endings)
        yield from _end(found, "topic", case.told.endings)
        if case.endings.of(found) != case.told.endings.of(found):
            yield Finding(Kind.WRONG, found.asset_id, f"event {found.id} ends otherwise in the table than in the topic")


def _end(found: Delivered, where: str, known: Endings) -> Findings:
    ends = known.of(found)
    seen = ", ".join(f"{e.stage} {e.state} {e.code}".strip() for e in sorted(ends))
    if not ends:
        yield _lost(found.asset_id, f"event {found.id} has no end in the {where}")
    elif len({end.generation for end in ends}) < len(ends):
        yield _doubled(found.asset_id, f"event {found.id} ends more than once in the {where}: {seen}")
    last = max(ends, key=lambda end: end.generation, default=None)
    if last and last[:2] not in (found.sent.end, DUPLICATE, CONFLICT):
        yield _lost(found.asset_id, f"event {found.id} is {seen} in the {where}, not {' '.join(found.sent.end)}")


def _groups(case: Case) -> Findings:
    """Of the events for one asset a single one is accepted; the others say which way they came too late."""
    for asset, group in by_asset(found for found in case.living() if not _replayed(found)):
        first = [found for found in group if not _late(case, found)]
        if len(first) != 1:
            yield Finding(Kind.DOUBLED if first else Kind.LOST, asset, f"{len(first)} of its events were first")
            continue
        for found in group:
            wanted = DUPLICATE if _payload(found) == _payload(first[0]) else CONFLICT
            if _late(case, found) and {end[:2] for end in case.endings.of(found)} != {wanted}:
                yield Finding(Kind.WRONG, asset, f"event {found.id}, which was late, is {case.endings.of(found)}")


def _replayed(found: Delivered) -> bool:
    return bool(found.sent.event and found.sent.event.data.replay_of)


def _late(case: Case, found: Delivered) -> bool:
    """Whether an event ended since another one for its asset was first."""
    return bool({DUPLICATE, CONFLICT} & {end[:2] for end in case.endings.of(found)})


def _payload(found: Delivered) -> str:
    return found.sent.event.data.payload_digest if found.sent.event else ""


def _rows(case: Case) -> Findings:
    """Every row is there once, by its id and by what it says."""
    for table, rows in case.kept.tables.items():
        for key in (("row_id",), KEYS[table]):
            counts = Counter(tuple(row[column] for column in key) for row in rows)
            twice = [found for found, count in counts.items() if count > 1]
            yield from (_doubled(f"table {table}", f"{found} is there more than once") for found in twice)


def _topics(case: Case) -> Findings:
    """What the table of events has is on its topic, and the other way round."""
    for kind, topic in OF_EVENT.items():
        if topic.name in case.told.data:
            rows = {row["event_id"] for row in case.kept.events(kind) if row["asset_id"] not in case.deleted}
            there = {i for i, data in case.told.data[topic.name].items() if data["asset_id"] not in case.deleted}
            yield from (_lost(topic.name, f"event {each} is only in the table") for each in sorted(rows - there))
            yield from (_lost("table events", f"{topic.name}: {each} is only there") for each in sorted(there - rows))


def _assets(case: Case) -> Findings:
    """Table `assets`: a completed row for each manifest version, and one for each end of another kind."""
    completed, ended = set(), set()
    for row in case.kept.tables["assets"]:
        if row["state"] == State.COMPLETED:
            completed.add((row["asset_id"], row["job_id"], row["manifest_version"]))
        elif row["asset_id"] not in case.deleted:
            ended.add((row["asset_id"], row["job_id"], row["generation"], row["state"], row["code"]))
    versions = {(m.asset_id, m.job_id, m.version) for m in case.kept.manifests}
    yield from _compared("table assets", versions, completed)
    letters = {
        (a.asset_id, a.job_id, a.generation, str(a.state), a.code)
        for a in case.kept.letters
        if a.asset_id not in case.deleted
    }
    yield from _compared("table assets", letters, ended)


def _manifests(case: Case) -> Findings:
    """Each completed asset has a manifest, numbered from 1, with its variants, edges and steps in the tables."""
    numbers = Counter(m.asset_id for m in case.kept.manifests)
    for manifest in case.kept.manifests:
        if manifest.version > numbers[manifest.asset_id]:
            yield _lost(manifest.asset_id, f"a manifest before version {manifest.version}")
    done = {found.asset_id for found in case.living() if COMPLETED in {e[:2] for e in case.endings.of(found)}}
    yield from _compared("manifests", done, numbers)
    variants = {row["row_id"]: row["sha256"] for m in case.kept.manifests for _, row in variant_rows(m)}
    yield from _compared("table variants", variants.items(), _pairs(case.kept.tables["variants"], "row_id", "sha256"))
    edges = {row["row_id"] for m in case.kept.manifests for _, row in lineage_rows(m)}
    yield from _compared("table lineage", edges, _made(case.kept.tables["lineage"]))
    steps = {(m.job_id, s.stage, s.step, s.result_id) for m in case.kept.manifests for s in m.steps}
    yield from _compared(
        "table steps", steps, _pairs(case.kept.tables["steps"], "job_id", "stage", "step", "result_id")
    )


def _pairs(rows: Iterable[Row], *columns: str) -> set[tuple[Any, ...]]:
    return {tuple(row[column] for column in columns) for row in rows}


def _made(rows: Iterable[Row]) -> set[str]:
    return {row["row_id"] for row in rows if row["stage"] != "publish"}


def _index(case: Case) -> Findings:
    """The index has the entries that the current manifests name, for vectors and for words, and none beside."""
    wanted = {entry for m in case.kept.current().values() for ids in m.index.values() for entry in ids}
    for where, held in (("vectors", case.kept.vectors), ("words", case.kept.words)):
        yield from _compared(f"index, {where}", wanted, held)


def _objects(case: Case) -> Findings:
    """Every object has the bytes that its name stands for, and all that manifests and results name is there."""
    for (_tenant, sha256), whole in case.kept.objects.items():
        if not whole:
            yield _lost("objects", f"{sha256} has other bytes")
    yield from (_lost("objects", f"{sha256} is missing") for _, sha256 in case.kept.named() - case.kept.objects.keys())


def _letters(case: Case) -> Findings:
    """Each bad end has its dead letter, as a record, in the table and on the topic, and its owner is told."""
    ends = {
        (found.asset_id, end.generation, end.state, end.code)
        for found in case.living()
        for end in case.endings.of(found)
        if end.state in _BAD
    }
    letters = [letter for letter in case.kept.letters if letter.asset_id not in case.deleted]
    yield from _compared("letters", ends, ((x.asset_id, x.generation, str(x.state), x.code) for x in letters))
    rows = {row["event_id"] for row in case.kept.events(DEAD_LETTER) if row["asset_id"] not in case.deleted}
    yield from _compared("letters in the table", {letter.dead_letter_id for letter in letters}, rows)
    told = Counter((row["asset_id"], row["code"]) for row in case.kept.events(NOTIFICATION))
    owed = Counter((letter.asset_id, letter.code) for letter in letters)
    for about in owed.keys() | told.keys():
        if about[0] not in case.deleted and owed[about] != told[about]:
            kind = Kind.LOST if told[about] < owed[about] else Kind.DOUBLED
            yield Finding(kind, about[0], f"the owner was told {told[about]} times of {owed[about]} {about[1]}")


def _publications(case: Case) -> Findings:
    """Each version is published once to its channel, as an event and as an edge of the lineage."""
    wanted = Counter((m.asset_id, m.version) for m in case.kept.manifests)
    rows = [json.loads(row["data"]) for row in case.kept.events(PUBLICATION)]
    there = Counter((row["asset_id"], row["manifest_version"]) for row in rows)
    yield from _compared("publications", wanted.items(), there.items())
    folders = {f"{m.tenant}/{m.asset_id}/v{m.version}" for m in case.kept.manifests}
    yield from _compared("published", folders, case.kept.published)
    edges = Counter(row["job_id"] for row in case.kept.tables["lineage"] if row["stage"] == "publish")
    jobs = Counter(m.job_id for m in case.kept.manifests)
    yield from _compared("edges of publications", jobs.items(), edges.items())


def _deleted(case: Case) -> Findings:
    """Of a deleted asset there is the tombstone, and at most that a new submission of it was refused."""
    kept, named = case.kept, {sha256 for _, sha256 in case.kept.named()}
    there = {sha256 for _, sha256 in kept.objects}
    yield from (_doubled("objects", f"{each} of a deleted asset") for each in sorted((case.gone & there) - named))
    yield from _compared("tombstones", case.deleted, kept.tombstones)
    places: dict[str, Iterable[str]] = {
        "manifests": (m.asset_id for m in kept.manifests),
        "claims": kept.claims,
        "jobs": (key.split("/")[2] for key in kept.jobs),
        "letters": (letter.asset_id for letter in kept.letters if letter.code != "deleted"),
        "letters on the topic": (
            data["asset_id"]
            for letter_id, data in case.told.data[DEAD_LETTERS.name].items()
            if letter_id not in case.told.gone and data["code"] != "deleted"
        ),
        "vectors": kept.vectors.values(),
        "words": kept.words.values(),
        **{
            f"table {t}": (r["asset_id"] for r in rows if r.get("code") != "deleted") for t, rows in kept.tables.items()
        },
    }
    for where, assets in places.items():
        yield from (_doubled(asset, f"deleted, and still in {where}") for asset in sorted(case.deleted & set(assets)))
