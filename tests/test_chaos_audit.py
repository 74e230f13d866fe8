"""The audit of `make chaos` is told of a case in which something is missing, doubled or left over."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable

import pytest
from flow_runs import Place, picture

from chaos.audit import Case, Kind, findings
from chaos.kept import kept
from chaos.load import Delivered, sent_of
from chaos.told import Told
from schemas.events import IngestEvent
from schemas.ids import row_id
from schemas.settings import Settings
from schemas.topics import OF_EVENT

ENDS = {"good.png": ("completed", ""), "other.png": ("completed", ""), "empty.png": ("rejected", "empty_file")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A case in which all is well: an embedded run of two good assets and a bad one, and what flows would tell."""
    folder = tmp_path_factory.mktemp("audit")
    pipelines = folder / "pipelines.toml"
    pipelines.write_text('[default]\nprofile = "none"\n')
    place = Place(folder / "out", {"ASSET_PIPELINE_PIPELINES_FILE": str(pipelines)})
    files = [picture(folder / "good.png", 1), picture(folder / "other.png", 2), folder / "empty.png"]
    files[2].write_bytes(b"")
    place.run(*files, code=3)
    settings = Settings(out=place.out, pipelines_file=pipelines)
    events = [IngestEvent.model_validate_json(line) for line in place.inbox()]
    sent = [sent_of(settings, event, ENDS[event.data.source.name]) for event in events]
    submitted = {each.id: Delivered(each, 0, number, "ingest") for number, each in enumerate(sent)}
    left = asyncio.run(kept(settings))
    told = Told(settings.model_copy(update={"events": "kafka://nowhere:1"}))
    for row in left.tables["events"]:
        told.note(OF_EVENT[row["type"]], {"id": row["event_id"], "data": json.loads(row["data"])})
    return Case(submitted, told, left)


def test_a_whole_case_has_no_findings(whole: Case) -> None:
    """Where nothing is lost and nothing is doubled, nothing is found."""
    assert findings(whole) == []


def _lose_row(case: Case, table: str) -> None:
    del case.kept.tables[table][-1]


def _double_row(case: Case, table: str) -> None:
    case.kept.tables[table].append(case.kept.tables[table][-1])


def _say_again(case: Case, table: str) -> None:
    """Under another id, as where ids are not the same on a replay."""
    row = case.kept.tables[table][-1]
    case.kept.tables[table].append(row | {"row_id": row_id(1, table, "again")})


def _lose_manifest(case: Case) -> None:
    del case.kept.manifests[0]


def _lose_object(case: Case) -> None:
    del case.kept.objects[next(iter(case.kept.named()))]


def _damage_object(case: Case) -> None:
    case.kept.objects[next(iter(case.kept.named()))] = False


def _lose_letter(case: Case) -> None:
    case.kept.letters.clear()


def _lose_told(case: Case) -> None:
    case.told.data["assets.status"].popitem()


def _leave_entry(case: Case) -> None:
    case.kept.vectors["another"] = case.kept.manifests[0].asset_id


def _leave_folder(case: Case) -> None:
    case.kept.published.add("default/another/v1")


def _lose_folder(case: Case) -> None:
    case.kept.published.pop()


def _never_end(case: Case) -> None:
    known = next(iter(case.submitted.values()))
    event = known.sent.event
    assert event is not None
    sent = sent_of(Settings(), event.model_copy(update={"id": "another"}), known.sent.end)
    case.submitted["another"] = Delivered(sent, 0, 9, "ingest")


def _end_again(case: Case) -> None:
    """The rejected asset is completed as well."""
    done = next(x for x in case.statuses if (x["stage"], x["step"], x["state"]) == ("publish", "", "completed"))
    bad = next(x for x in case.statuses if x["state"] == "rejected")
    again = done | {"job_id": bad["job_id"], "asset_id": bad["asset_id"]}
    case.endings.status(again)
    case.told.endings.status(again)


def _bring_back(case: Case) -> None:
    case.deleted.add(case.kept.manifests[0].asset_id)


LOSSES: list[Callable[[Case], None]] = [
    *(lambda case, t=table: _lose_row(case, t) for table in ("assets", "variants", "lineage", "steps", "events")),
    _lose_manifest, _lose_object, _damage_object, _lose_letter, _lose_told, _lose_folder, _never_end,
]  # fmt: skip
DOUBLES: list[Callable[[Case], None]] = [
    *(lambda case, t=table: _double_row(case, t) for table in ("assets", "variants", "lineage", "steps", "events")),
    *(lambda case, t=table: _say_again(case, t) for table in ("assets", "variants", "lineage", "steps", "events")),
    _leave_entry, _leave_folder, _end_again, _bring_back,
]  # fmt: skip


@pytest.mark.parametrize("change", LOSSES)
def test_what_is_lost_is_found(whole: Case, change: Callable[[Case], None]) -> None:
    """Something that is missing is a finding of its kind."""
    assert Kind.LOST in _found(whole, change)


@pytest.mark.parametrize("change", DOUBLES)
def test_what_is_doubled_is_found(whole: Case, change: Callable[[Case], None]) -> None:
    """Something that is there twice, or should not be there, is a finding of its kind."""
    assert Kind.DOUBLED in _found(whole, change)


def _found(whole: Case, change: Callable[[Case], None]) -> set[Kind]:
    case = Case(dict(whole.submitted), copy.copy(whole.told), copy.deepcopy(whole.kept))
    case.told.data, case.told.endings = copy.deepcopy((whole.told.data, whole.told.endings))
    change(case)
    return {finding.kind for finding in findings(case)}
