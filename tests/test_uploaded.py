"""Ingest of what a producer has put into the object store: it stays where it is, and is refused as a file would be."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from waiting import failure

from operators.stages.ingest import fetched, original_key
from operators.stages.services import Services
from schemas.asset import IngestRecord, IngestRequest, Source, Work
from schemas.errors import AssetError
from schemas.events import StatusChanged
from schemas.pipelines import Limits, Pipeline
from sinks.objects import Objects
from sources.fetch import FetchPolicy, open_source

DATA = b"a picture"
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def services() -> Services:
    """A store in memory, and nobody who fetches."""
    told: list[StatusChanged] = []
    given = {"store": Objects("memory:///"), "clock_ms": lambda: 1, "on_event": told.append}
    return cast(Services, SimpleNamespace(**given))


def work(source: Source) -> Work:
    """An accepted request for this source, of at most as many bytes as there are."""
    request = IngestRequest(source=source, idempotency_key="k")
    record = IngestRecord(asset_id=request.asset_id, job_id="job", event_id="e", accepted_ms=1, request=request)
    limits = Limits(**{name: len(DATA) for name in Limits.model_fields if name.endswith("_bytes")})
    return Work(record=record, pipeline=Pipeline(limits=limits))


def test_an_object_is_taken_as_it_lies(services: Services) -> None:
    """The original is the object itself, which nobody reads or writes; the asset has it from then on."""
    asyncio.run(services.store.add_bytes("default", DATA, "image/png"))
    wanted = work(Source(uri=f"object:sha256:{SHA}", name="a.png"))
    original = asyncio.run(fetched(services, wanted, wanted.record.request)).item.original
    assert (original.sha256, original.bytes) == (SHA, len(DATA))
    assert asyncio.run(services.store.get(original_key("default", SHA, wanted.asset_id))) is not None


@pytest.mark.parametrize(
    ("data", "tenant", "announced", "code"),
    [
        (DATA, "another", "", "source_missing"),
        (DATA + b"!", "default", "", "too_large"),
        (b"", "default", "", "empty_file"),
        (DATA, "default", "0" * 64, "source_changed"),
    ],
)
def test_what_is_refused(data: bytes, tenant: str, announced: str, code: str, services: Services) -> None:
    """Another tenant's object is none; one too large, empty or not as announced is refused, with its code."""
    asyncio.run(services.store.add_bytes(tenant, data, ""))
    source = Source(uri=f"object:sha256:{hashlib.sha256(data).hexdigest()}/a.png", name="a.png", sha256=announced)
    assert failure(fetched(services, work(source), work(source).record.request)).code == code


@pytest.mark.parametrize("uri", ["object:sha256:../../x", f"object:sha256:{SHA.upper()}", f"object:md5:{SHA}"])
def test_what_names_no_object_is_no_source(uri: str) -> None:
    """A URI that is not quite that of an object is nothing that could be fetched."""
    source = Source(uri=uri, name="x")
    assert source.stored == ""
    assert failure(first_block(source, FetchPolicy())).code == "url_scheme"


def test_files_are_read_only_where_that_is_allowed(tmp_path: Path) -> None:
    """Where strangers write requests, a file of this machine is no source."""
    path = tmp_path / "secret"
    path.write_bytes(DATA)
    source = Source(uri=path.as_uri(), name="x")
    assert asyncio.run(first_block(source, FetchPolicy())) == DATA
    error: AssetError = failure(first_block(source, FetchPolicy(files=False)))
    assert error.code == "url_scheme"


def test_a_name_is_part_of_the_uri_and_of_nothing_else() -> None:
    """The file's name in the URI is for people; the source is the same under another one, or with a known digest."""
    named, other = Source.of_object(SHA, "ä b/c.png"), Source(uri=f"object:sha256:{SHA}", name="x")
    assert named.stored == SHA and named.uri.endswith("/%C3%A4%20b%2Fc.png")
    assert named.identity == other.identity == f"sha256:{SHA}"


async def first_block(source: Source, policy: FetchPolicy) -> Any:
    """The beginning of a source's bytes."""
    return await anext(open_source(source, 2**20, policy))
