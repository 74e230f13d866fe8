"""Works between flows: exact there and back, readable across versions, and never more than an error when damaged."""

from __future__ import annotations

import json
import random
from typing import Any

import pyarrow as pa
import pytest
from work_factory import WORKS

from schemas import batches
from schemas.arrow import arrow_schema, batch_of, rows_of
from schemas.asset import Work
from schemas.base import Model
from schemas.batches import ARROW, WORK, columns, decode_works, encode_works, fingerprint, known_schemas
from schemas.messages import Headers, Message


def items(works: list[Work]) -> list[tuple[str, Work]]:
    """Works with their keys."""
    return [(found.asset_id, found) for found in works]


def message(value: bytes | None, headers: Headers) -> Message:
    """A message as it is read."""
    return Message("assets.validated", 0, 0, None, value, headers)


def stream(schema: pa.Schema, *batch: pa.RecordBatch) -> bytes:
    """An Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for one in batch:
            writer.write_batch(one)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("found", WORKS, ids=lambda found: found.kind or "none")
def test_a_work_alone_is_json(found: Work) -> None:
    """A single work travels as its JSON, equal when it is read, and names its schema."""
    value, headers = encode_works(items([found]))
    assert headers["content-type"] == b"application/json" and json.loads(value)["record"]["job_id"]
    assert decode_works(message(value, headers)) == [found]


def test_works_together_are_one_batch() -> None:
    """Works of every kind, and one of none, come back exactly and in order from one Arrow record batch."""
    for number in (2, 5, 300):
        sent = (WORKS * number)[:number]
        value, headers = encode_works(items(sent))
        assert headers["content-type"] == ARROW.encode()
        assert decode_works(message(value, headers)) == sent
        with pa.ipc.open_stream(value) as reader:
            assert [batch.num_rows for batch in reader] == [number]


def test_a_message_names_the_schemas_fingerprint_and_version() -> None:
    """Both forms carry the fingerprint of the works' schema, and its place among all that ever were."""
    for count in (1, 2):
        _value, headers = encode_works(items(WORKS[:count]))
        assert headers["schema"].decode() == fingerprint(arrow_schema(Work))
        versions = {entry["fingerprint"]: entry["version"] for entry in known_schemas()}
        assert int(headers["schema-version"]) == versions[headers["schema"].decode()]


def test_no_works_are_no_message() -> None:
    """There is no message of no works."""
    with pytest.raises(ValueError, match="no works"):
        encode_works([])


def older(schema: pa.Schema) -> pa.Schema:
    """A schema of works as an earlier version may have had it: fields are missing at every depth, one is too many."""
    record, steps = schema.field("record").type, schema.field("steps").type
    request = without(record.field("request").type, "consent", "generation")
    run = without(steps.value_type, "cached")
    replaced = {
        "record": pa.struct([request_field(f, request) for f in record]),
        "steps": pa.list_(pa.struct([*run, pa.field("gone", pa.int64())])),
    }
    kept = [field.with_type(replaced.get(field.name, field.type)) for field in schema if field.name != "kind"]
    return pa.schema([*kept, pa.field("gone", pa.string(), nullable=False)])


def without(struct: pa.StructType, *names: str) -> pa.StructType:
    """A struct less some of its fields."""
    return pa.struct([field for field in struct if field.name not in names])


def request_field(field: pa.Field, request: pa.StructType) -> pa.Field:
    """The field, with another type if it is the request."""
    return field.with_type(request) if field.name == "request" else field


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch) -> pa.Schema:
    """An earlier schema that is known."""
    schema = older(WORK)
    monkeypatch.setitem(batches._VERSIONS, fingerprint(schema), 0)
    return schema


def as_older(found: Work) -> dict[str, Any]:
    """A work as the earlier version dumped it."""
    row = found.model_dump(exclude={"kind": True, "record": {"request": {"consent", "generation"}}})
    runs = [{"result": run["result"], "at_ms": run["at_ms"], "gone": 7} for run in row["steps"]]
    return row | {"steps": runs, "gone": "x"}


def upgraded(found: Work) -> Work:
    """The same work as this version reads it."""
    runs = tuple(run.model_copy(update={"cached": False}) for run in found.steps)
    return found.model_copy(update={"kind": None, "steps": runs})


def test_an_older_schema_is_read(earlier: pa.Schema) -> None:
    """Fields that an earlier version had not are their defaults, at any depth; fields that are no more are left out."""
    headers = {"schema": fingerprint(earlier).encode(), "schema-version": b"0"}
    expected = [upgraded(found) for found in WORKS]
    value = stream(earlier, batch_of([as_older(found) for found in WORKS], earlier))
    assert decode_works(message(value, {**headers, "content-type": ARROW.encode()})) == expected
    for found, wanted in zip(WORKS, expected, strict=True):
        envelope = json.dumps(as_older(found)).encode()
        assert decode_works(message(envelope, {**headers, "content-type": b"application/json"})) == [wanted]


@pytest.mark.parametrize("count", [1, 2])
def test_an_unknown_schema_is_refused(count: int) -> None:
    """What a newer version wrote is a ValueError that names its schema and version; so is a message that names none."""
    value, headers = encode_works(items(WORKS[:count]))
    newer = {**headers, "schema": b"0123456789abcdef", "schema-version": b"99"}
    with pytest.raises(ValueError, match=r"schema: unknown schema '0123456789abcdef', version '99'; known up to"):
        decode_works(message(value, newer))
    with pytest.raises(ValueError, match="unknown schema ''"):
        decode_works(message(value, {"content-type": headers["content-type"]}))
    with pytest.raises(ValueError, match="unknown schema") as refused:
        decode_works(message(value, {**headers, "schema": b"\xff" * 10_000}))
    assert len(str(refused.value)) < 310


def test_a_batch_of_another_schema_is_refused(earlier: pa.Schema) -> None:
    """A batch whose own schema is not the one that its header names is not read as that."""
    value = stream(earlier, batch_of([as_older(found) for found in WORKS], earlier))
    _value, headers = encode_works(items(WORKS))
    with pytest.raises(ValueError, match="not the one that the header names"):
        decode_works(message(value, headers))


def test_what_is_no_batch_is_refused() -> None:
    """A tombstone, an empty stream, a batch of no rows or of nulls, and another content type are ValueErrors."""
    value, headers = encode_works(items(WORKS))
    nulls = pa.RecordBatch.from_pylist([{}], schema=WORK)
    bad = {"tombstone": None, "value: ": b"", "the batch is missing": stream(WORK)}
    bad |= {"record: Input should be": stream(WORK, nulls), "batch is missing": stream(WORK, nulls.slice(0, 0))}
    for why, other in bad.items():
        with pytest.raises(ValueError, match=why):
            decode_works(message(other, headers))
    with pytest.raises(ValueError, match="works do not come as 'text/plain'"):
        decode_works(message(value, {**headers, "content-type": b"text/plain"}))
    with pytest.raises(ValueError, match=r"record\.asset_id: Input should be"):
        decode_works(message(b'{"record":{"asset_id":1}}', {**headers, "content-type": b"application/json"}))


def test_every_batch_of_a_stream_is_read() -> None:
    """A stream of several batches loses none of them."""
    value = stream(WORK, *(batch_of([found.model_dump()], WORK) for found in WORKS))
    _value, headers = encode_works(items(WORKS))
    assert decode_works(message(value, headers)) == WORKS


def decoded(value: bytes, headers: Headers) -> list[Work] | None:
    """The works, or None where they were refused; anything but a ValueError fails the test."""
    try:
        return decode_works(message(value, headers))
    except ValueError as error:
        assert len(str(error)) < 310
        return None


@pytest.mark.parametrize("count", [1, 3])
def test_a_cut_message_is_refused(count: int) -> None:
    """A message that ends early is never read as fewer works."""
    sent = WORKS[:count]
    value, headers = encode_works(items(sent))
    ends = range(0, len(value), max(1, len(value) // 400))
    assert {found is None or found == sent for found in (decoded(value[:end], headers) for end in ends)} == {True}
    assert decoded(value[: len(value) // 2], headers) is None


def test_damage_is_an_error_and_never_a_crash() -> None:
    """Flipped bits, absurd lengths and zeros anywhere in a batch are refused, or change a value; the seed is fixed."""
    value, headers = encode_works(items(WORKS[:3]))
    chance, refused = random.Random(1), 0
    lengths = (
        b"\xff" * 8,
        b"\x7f" + b"\xff" * 7,
        bytes(8),
        (2**40).to_bytes(8, "little"),
        (2**31 - 1).to_bytes(8, "little"),
    )
    body = value.index(b"\xff\xff\xff\xff", 8)  # where the schema's message ends and the batch's begins
    for turn in range(1200):
        damaged = bytearray(value)
        at = chance.randrange(body, body + 10_000) if turn % 2 else chance.randrange(len(value) - 8)
        if turn % 3:
            damaged[at] ^= 1 << chance.randrange(8)
        else:
            damaged[at : at + 8] = chance.choice(lengths)
        refused += decoded(bytes(damaged), headers) is None
    assert 200 < refused < 1200


def test_the_schemas_that_were_written_are_kept() -> None:
    """The committed list has this program's schema: `python -m schemas.documents` adds what is new."""
    kept = json.loads(batches.KNOWN.read_text())
    assert kept == known_schemas()
    assert [entry["version"] for entry in kept] == list(range(1, len(kept) + 1))
    current = next(entry for entry in kept if entry["fingerprint"] == fingerprint(WORK))
    assert current["columns"] == columns(WORK)


@pytest.mark.parametrize("entry", known_schemas(), ids=lambda entry: f"version {entry['version']}")
def test_works_of_every_kept_schema_can_be_read(entry: dict[str, Any]) -> None:
    """A work with no more than an earlier schema's fields is one of this version: what was added since has defaults."""
    for found in WORKS:
        row = pruned(found.model_dump(), entry["columns"], "")
        Work.model_validate(row, extra="ignore")
    for path, kind in entry["columns"].items():
        assert columns(WORK).get(path, kind) in (kind, f"{kind}?"), path


def pruned(value: Any, paths: dict[str, str], path: str) -> Any:
    """The value with no fields but these."""
    if isinstance(value, list | tuple):
        return [pruned(item, paths, f"{path}[]") for item in value]
    if not isinstance(value, dict) or paths.get(path, "struct").rstrip("?") != "struct":
        return value
    inner = {name: f"{path}.{name}" if path else name for name in value}
    return {name: pruned(item, paths, inner[name]) for name, item in value.items() if inner[name] in paths}


def test_a_new_schema_is_added_at_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A changed model's schema gets the next version, and all before it stay."""
    file = tmp_path / "work-schemas.json"
    file.write_text(json.dumps([{"version": 1, "fingerprint": "other", "columns": {}}]))
    monkeypatch.setattr(batches, "KNOWN", file)
    assert [(entry["version"], entry["fingerprint"]) for entry in known_schemas()] == [
        (1, "other"), (2, fingerprint(WORK))
    ]  # fmt: skip


def test_a_fingerprint_changes_with_any_field() -> None:
    """Another name, type, order or nullability is another schema, at any depth; a copy of it is not."""
    base = [pa.field("a", pa.list_(pa.struct([pa.field("b", pa.int64()), pa.field("c", pa.string())])))]
    changed = [
        [pa.field("z", base[0].type)],
        [pa.field("a", base[0].type, nullable=False)],
        [pa.field("a", pa.list_(pa.struct([pa.field("c", pa.string()), pa.field("b", pa.int64())])))],
        [pa.field("a", pa.list_(pa.struct([pa.field("b", pa.int32()), pa.field("c", pa.string())])))],
        [pa.field("a", pa.list_(pa.struct([pa.field("b", pa.int64())])))],
        [*base, pa.field("d", pa.string())],
    ]
    found = {fingerprint(pa.schema(fields)) for fields in (base, *changed)}
    assert len(found) == len(changed) + 1
    assert fingerprint(pa.ipc.read_schema(WORK.serialize())) == fingerprint(WORK)


def test_rows_of_any_model_come_back() -> None:
    """Optional models, numbers and lists of models are the same after a record batch, nulls within them too."""

    class Inner(Model):
        size: int | None = None
        values: dict[str, Any] = {}

    class Outer(Model):
        inner: Inner | None = None
        many: tuple[Inner, ...] = ()
        names: dict[str, str] = {}
        ratio: float | None = None
        flags: tuple[bool, ...] = ()

    sent = [
        Outer(),
        Outer(
            inner=Inner(), many=(Inner(size=1), Inner(values={"a": [None]}), Inner()), ratio=0.5, flags=(True, False)
        ),
        Outer(inner=Inner(size=2**62, values={"b": {}}), names={"x": "", "": "é"}),
    ]
    schema = arrow_schema(Outer)
    for chosen in (sent, sent[:1], sent[1:], []):
        rows = rows_of(batch_of([one.model_dump() for one in chosen], schema))
        assert [Outer.model_validate(row) for row in rows] == chosen
