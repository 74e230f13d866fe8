"""The structs of the hot path accept what the models do, and nothing else: over many documents, good and bad."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import pytest
from pydantic import AfterValidator, AwareDatetime, Field, TypeAdapter, ValidationError, field_validator

from schemas import ids
from schemas.asset import Declared, IngestRequest, Source
from schemas.base import Model
from schemas.events import IngestEvent
from schemas.structs import read_time, received, struct_of

STRUCT = struct_of(IngestEvent)
Tree = dict[str, Any]  # leaves are JSON text

EVENT: Tree = {
    "specversion": '"1.0"', "id": '"e-1"', "source": '"/cms"', "type": '"assets.ingest.requested.v1"',
    "subject": '"a"', "time": '"2026-11-23T06:37:10.123Z"', "datacontenttype": '"application/json"',
    "dataschema": '"urn:x"', "traceparent": '"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"',
    "data": {
        "tenant": '"acme"', "owner": '"o"', "organisation": '"g"', "project": '"p"', "idempotency_key": '"k"',
        "source": {"uri": '"https://h/c.png"', "name": '"c.png"', "root": '""', "sha256": '""', "validator": '"v"'},
        "declared": {
            "title": '"Grüße 🐈"', "description": '"d"', "tags": '["x", "y"]', "language": '"de"',
            "media_type": '"image/png"',
        },
        "consent": {"enrich": "true", "faces": "false", "search": "true", "publish": "true", "train": "false"},
        "parents": '["p"]', "pipeline": '"default"', "replay_of": '""', "generation": "0",
    },
}  # fmt: skip
REQUIRED: Tree = {
    "id": '"e"', "source": '"s"', "data": {"source": {"uri": '"u"', "name": '"n"'}, "idempotency_key": '"k"'}
}  # fmt: skip
VALUES = [
    "null", "true", "false", "0", "1", "-1", "-0", "7", "1.0", "0.0", "1.5", "1e2", "1E400", "01", "+1", ".5", "1.",
    "2147483647", "2147483648", "18446744073709551616", "9" * 40, "9" * 5000, "NaN", "Infinity", "-Infinity", "nul",
    '""', '"a"', '"5"', '"true"', '"no"', '"1.0"', '"default"', '"default\\n"', '"Default"', '"-a"', '"é"', '"\\u0061"',
    '"a\\u0000"', '"\\ud83d\\ude00"', '"\\ud800"', '"\\udc00\\ud800"', '"a\nb"', '"a\\qb"', '"a', "'a'", '"\ud800"',
    json.dumps("x" * 63), json.dumps("x" * 64), json.dumps("é" * 1024), json.dumps("é" * 1025), json.dumps("u" * 16385),
    "[]", "[ ]", '["a"]', '["a",]', '["a",1]', "[null]", '[["a"]]', "{}", '{"a":1}', '{"uri":"u","name":"n"}',
    '{"uri":"u","name":"n","name":"m"}', '{"uri":"u"}', '"assets.ingest.requested.v1"', '"assets.ingest.requested.v2"',
    "[" * 300 + "]" * 300, "",
]  # fmt: skip
_DAY = "2026-11-23"
TIMES = [
    *(f"{_DAY}T06:37:10{fraction}{zone}" for fraction in ("", ".1", ".123456", ".1234567", ".9999999", ".12345678901")
      for zone in ("Z", "z", "", "+00:00", "-00:00", "+0530", "+05:30", "-23:59", "+24:00", "+14:60", "+05", " Z")),
    *(f"{_DAY}{time}Z" for time in ("t06:37:10", " 06:37:10", "_06:37:10", "T06:37", "T06", "T06:37:60", "T24:00:00",
                                    "T06:37:10.", "T06:37:10,5", "T063710", "T6:37:10", "")),
    "2026-02-30T00:00:00Z", "2024-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "20261123T063710Z", "2026-W48-1T06:37:10Z",
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59.9999999Z",
    "9999-12-31T23:59:59-05:00", "1969-12-31T23:59:59.9Z", "1577836800", "1577836800.5", "١٩٦٩-12-31T00:00:00Z", "now",
]  # fmt: skip


def text(tree: Tree | str) -> str:
    """A tree as JSON text."""
    if isinstance(tree, str):
        return tree
    return "{" + ",".join(f'"{name}":{text(value)}' for name, value in tree.items()) + "}"


def paths(tree: Tree, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where the tree's fields are, inner ones too."""
    for name, value in tree.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from paths(value, (*above, name))


def changed(tree: Tree, path: tuple[str, ...], value: str | None) -> Tree:
    """The tree with another text at a path, or with nothing there."""
    name, *rest = path
    if rest:
        return {**tree, name: changed(tree[name], tuple(rest), value)}
    return {k: v for k, v in tree.items() if k != name} | ({} if value is None else {name: value})


def fields_changed() -> Iterator[str]:
    """Every field without its value, with every odd value, twice, and beside a field of nobody's."""
    for path in paths(EVENT):
        yield text(changed(EVENT, path, None))
        yield text(changed(EVENT, (*path[:-1], "nobody"), "1"))
        for value in VALUES:
            yield text(changed(EVENT, path, value))
            # the same name again, with the odd value first and last
            yield text(changed(EVENT, path, f'{value},"{path[-1]}":"a"'))
            yield text(changed(EVENT, path, f'"a","{path[-1]}":{value}'))
    for time in TIMES:
        yield text(EVENT | {"time": json.dumps(time, ensure_ascii=False)})
        yield text(EVENT | {"time": json.dumps(time).replace("2", "\\u0032", 1)})


def texts_damaged() -> Iterator[bytes]:
    """Good documents with something before, after or in them; the seed is fixed."""
    good = [text(EVENT).encode(), text(REQUIRED).encode(), json.dumps(json.loads(text(EVENT)), indent=2).encode()]
    for raw in good:
        for other in (b"", b" ", b"\n\t\r", b"\xef\xbb\xbf", b"\x00", b"\x0c", b"x", b",", b"{}", b"//", b"\xff"):
            yield from (other + raw, raw + other, raw[:5] + other + raw[5:])
        yield b"[" + raw + b"]"
        yield raw.decode().encode("utf-16")
    chance = random.Random(1)
    for _ in range(3000):
        raw = bytearray(chance.choice(good))
        for _ in range(chance.choice((1, 1, 2, 4))):
            at = chance.randrange(len(raw))
            raw[at : at + chance.choice((0, 1, 1, 3))] = chance.choice(
                (
                    b"",
                    b'"',
                    b"\\",
                    b"{",
                    b"}",
                    b",",
                    b":",
                    b"0",
                    b"e",
                    b" ",
                    b"\xc3",
                    b"null",
                    bytes([chance.randrange(256)]),
                )
            )
        yield bytes(raw)


def model_of(raw: bytes) -> IngestEvent | None:
    """What pydantic makes of a document."""
    try:
        return IngestEvent.model_validate_json(raw)
    except ValidationError:
        return None


def struct_as_model(raw: bytes) -> IngestEvent | None:
    """What msgspec makes of a document, as the model."""
    try:
        found: Any = msgspec.json.decode(raw, type=STRUCT)
        time = read_time(found.time)
    except ValueError:
        return None
    fields = msgspec.structs.asdict(found) | {"time": time, "data": msgspec.to_builtins(found.data)}
    return IngestEvent.model_validate(fields)


def agree(raw: bytes) -> tuple[bool, bool]:
    """Whether the model and the struct accept it; fails where the struct alone does, or where they read otherwise."""
    model, struct = model_of(raw), struct_as_model(raw)
    if struct is not None:
        assert model is not None, raw
        assert struct.model_dump() == model.model_dump(), raw
        assert (struct.time and struct.time.utcoffset()) == (model.time and model.time.utcoffset()), raw
    if model is None:
        with pytest.raises(ValidationError):
            received(raw)
    else:
        read = received(raw)
        assert read.event() == model and read.raw == raw
        request = model.data
        assert (read.event_id, read.asset_id, read.tenant) == (model.id, request.asset_id, request.tenant)
        at_ms = int(model.time.timestamp() * 1000) if model.time else 0
        assert (read.generation, read.accepted_ms) == (request.generation, at_ms), raw
        assert (read.pipeline, read.replay_of) == (request.pipeline, request.replay_of)
    return model is not None, struct is not None


def test_a_struct_reads_no_field_otherwise_than_its_model() -> None:
    """For odd values in every field: what msgspec accepts pydantic accepts, alike; what it refuses pydantic decides."""
    found = [agree(document.encode(errors="surrogatepass")) for document in fields_changed()]
    assert found.count((True, True)) > 500  # the hot path
    assert found.count((True, False)) > 100  # what only pydantic reads
    assert found.count((False, False)) > 2000


def test_a_struct_accepts_no_damaged_text() -> None:
    """The same for documents that are hardly JSON."""
    found = [agree(raw) for raw in texts_damaged()]
    assert found.count((True, True)) > 200
    assert found.count((False, False)) > 2000


def test_what_producers_write_takes_the_hot_path() -> None:
    """Events as this program, and others with nothing but the required fields, write them need no second reading."""
    request = IngestRequest(
        source=Source(uri="file:///a.png", name="a.png"), idempotency_key="k", declared=Declared(tags=("a", "b"))
    )
    written = IngestEvent(id="e", source="s", time=datetime.now(UTC), data=request).model_dump_json().encode()
    for raw in (written, text(EVENT).encode(), text(REQUIRED).encode()):
        assert agree(raw) == (True, True)


def test_a_generation_that_no_table_can_hold_is_refused() -> None:
    """An event cannot ask for a generation beyond 32 bits, which no row could hold: it would end the flow."""
    for value, accepted in (("2147483647", True), ("2147483648", False), ("9" * 30, False)):
        assert agree(text(changed(EVENT, ("data", "generation"), value)).encode()) == (accepted, accepted)


def test_the_time_of_an_event_is_cut_to_microseconds() -> None:
    """A time with nanoseconds, as Java and Go write it, is the millisecond that it lies in, never the next one."""
    raw = text(EVENT | {"time": '"2026-11-23T06:37:10.999999999Z"'}).encode()
    assert received(raw).accepted_ms == int(datetime(2026, 11, 23, 6, 37, 10, tzinfo=UTC).timestamp()) * 1000 + 999
    assert received(text(REQUIRED).encode()).accepted_ms == 0


def test_what_a_struct_cannot_say_is_refused() -> None:
    """A model with a validator, a constraint or a type that a struct has not is no hot path, and says so at start."""

    class Checked(Model):
        name: str

        @field_validator("name")
        @classmethod
        def check(cls, name: str) -> str:
            return name

    class Annotation(Model):
        name: Annotated[str, AfterValidator(str.lower)]

    class Step(Model):
        size: int = Field(multiple_of=2)

    class Free(Model):
        values: dict[str, Any]

    for model in (Checked, Annotation, Step, Free):
        with pytest.raises(TypeError):
            struct_of(model)


def test_ids_are_uuids_of_version_5() -> None:
    """Asset ids and the others are those that the standard library's uuid5 makes, for any tenant and key."""
    chance = random.Random(1)
    for _ in range(500):
        key = "".join(
            chr(chance.choice((chance.randrange(1, 128), 0xE9, 0x1F408))) for _ in range(chance.randrange(80))
        )
        assert ids.asset_id("acme", key) == str(uuid.uuid5(ids.NAMESPACE, f"asset\0acme\0{key}"))
    assert ids.job_id("a", "f") == str(uuid.uuid5(ids.NAMESPACE, "job\0a\0f"))


def test_times_are_read_as_pydantic_reads_them() -> None:
    """Every form of time that is read at all is the same instant and offset as pydantic's."""
    aware = TypeAdapter(AwareDatetime)
    for time in TIMES:
        raw = msgspec.json.decode(json.dumps(time).encode(), type=msgspec.Raw)
        try:
            found = read_time(raw)
        except ValueError:
            continue
        expected = aware.validate_json(bytes(raw))
        assert found is not None and (found, found.utcoffset()) == (expected, expected.utcoffset()), time
