"""The embedded producer: files, folders and URLs become ingest events in the inbox, which outlives a crash."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dataflows import queries
from dataflows.connections import objects_of, policy_of
from operators.media.types import is_media_name, is_sidecar_of
from operators.stages.dead_letter import letters, next_try
from operators.stages.ingest import tombstone_key
from schemas.errors import AssetError
from schemas.events import IngestEvent, StatusChanged
from schemas.fold import ENDED, fold
from schemas.ids import job_id
from schemas.ports import ObjectStore
from schemas.settings import Settings
from sources.fetch import validator_of
from sources.folder import Submission, file_event, sidecars, url_event, walk
from sources.inbox import Inbox


def is_url(target: str) -> bool:
    """Whether a target is a URL and not a path."""
    return "://" in target


def submission_of(settings: Settings, key: str = "", **fields: Any) -> Submission:
    """What all events of one call share. Raises ValueError for a pipeline that is not configured."""
    pipelines = settings.pipelines()
    if settings.pipeline not in pipelines:
        raise ValueError(f"no pipeline named {settings.pipeline!r}; there are {', '.join(sorted(pipelines))}")
    return Submission(pipelines[settings.pipeline], settings.tenant, is_media_name, key, is_sidecar_of, fields)


def events_of(settings: Settings, targets: Sequence[str], submission: Submission) -> Iterator[IngestEvent]:
    """One event for each file or URL, in order; a folder gives its media files.

    Raises FileNotFoundError, before the first one.
    """
    for target in targets:
        if not is_url(target) and not os.path.lexists(target):
            raise FileNotFoundError(target)
    for target in targets:
        if is_url(target):
            yield asyncio.run(_url_event(settings, target, submission))
        elif Path(target).is_dir():
            yield from (file_event(path, Path(target), submission) for path in walk(Path(target), submission.wanted))
        else:
            yield file_event(Path(target), Path(target).absolute().parent, submission)


async def _url_event(settings: Settings, url: str, submission: Submission) -> IngestEvent:
    """A URL that is refused or away is submitted all the same, so that ingest gives it a state and a code."""
    try:
        found = await validator_of(url, policy_of(settings))
    except AssetError:
        return url_event(url, url.rsplit("/", 1)[-1].partition("?")[0], "", submission)
    return url_event(url, found.name, found.validator, submission)


def left_out(targets: Sequence[str]) -> list[Path]:
    """The files of folders that are no media by their name, and no media's sidecars."""
    folders = [Path(t) for t in targets if not is_url(t) and Path(t).is_dir()]
    media = (path for folder in folders for path in walk(folder, is_media_name))
    taken = {beside for path in media for beside in sidecars(path, is_sidecar_of)}
    others = (path for folder in folders for path in walk(folder, lambda name: not is_media_name(name)))
    return [path for path in others if path not in taken]


async def as_next_try(store: ObjectStore, event: IngestEvent) -> IngestEvent:
    """The event, or if its asset ended in a dead letter before, its replay: the same request, where it lies now."""
    found = await letters(store, event.data.tenant, event.data.asset_id)
    mine = [letter for letter in found if letter.input and letter.input.payload_digest == event.data.payload_digest]
    return next_try(max(mine, key=lambda letter: letter.generation), event.data) if mine else event


def append(settings: Settings, events: Sequence[IngestEvent]) -> None:
    """Puts the events into the inbox, less those that wait there or in the flow; they are on the disk at the end."""
    inbox = Inbox(settings.below("inbox", "ingest.jsonl"))
    lines = {event.model_dump_json(exclude_none=True).encode(): event for event in events}
    before = {line: lines[line] for line in inbox.holding(lines)}
    ended = asyncio.run(_ended(settings, list(before.values())))
    inbox.append(line for line, event in lines.items() if line not in before or event.id in ended)


async def _ended(settings: Settings, events: Sequence[IngestEvent]) -> set[str]:
    """The ids of those events whose jobs have ended, or that ended before they were a job, or whose assets are gone."""
    by_job: dict[str, list[StatusChanged]] = defaultdict(list)
    for told in queries.events(settings, [event.data.asset_id for event in events]) if events else ():
        by_job[told.job_id].append(told)
    over = {job for job, history in by_job.items() if fold(history).state in ENDED}
    pipelines, store, ended = settings.pipelines(), objects_of(settings), set()
    for event in events:
        asset, pipeline = event.data.asset_id, pipelines.get(event.data.pipeline)
        job = job_id(asset, pipeline.fingerprint) if pipeline else ""
        if over & {event.id, job} or await store.get(tombstone_key(event.data.tenant, asset)):
            ended.add(event.id)
    return ended


def submit(settings: Settings, targets: Sequence[str], **fields: Any) -> list[IngestEvent]:
    """Submits files, folders and URLs. Raises ValueError, FileNotFoundError."""
    return sent(settings, events_of(settings, targets, submission_of(settings, **fields)))


def sent(settings: Settings, found: Iterable[IngestEvent]) -> list[IngestEvent]:
    """The events as they were put into the inbox."""
    events, store = list(found), objects_of(settings)

    async def tried() -> list[IngestEvent]:
        return [await as_next_try(store, event) for event in events]

    events = asyncio.run(tried())
    append(settings, events)
    return events
