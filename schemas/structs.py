"""msgspec structs of the models, for decoding where every microsecond counts; the models stay the one source.

A struct accepts nothing that its model refuses. What it refuses itself is the model's to judge: pydantic reads more
("5" for a number), and has the better message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec
from pydantic import AwareDatetime, BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from schemas import ids
from schemas.base import Model
from schemas.events import IngestEvent

_CONSTRAINTS = ("min_length", "max_length", "ge", "gt", "le", "lt", "pattern")


@cache
def struct_of(model: type[BaseModel]) -> type[msgspec.Struct]:
    """The model as a frozen struct of the same fields, defaults and constraints; a time is raw, for `read_time`.

    Raises TypeError for what a struct cannot say: a validator, a configuration or a type of another kind.
    """
    decorators = model.__pydantic_decorators__
    if decorators.field_validators or decorators.model_validators or model.model_config != Model.model_config:
        raise TypeError(f"{model.__name__} validates more than its fields say")
    fields = [_field(name, field) for name, field in model.model_fields.items()]
    # nothing in it can refer to it, so the collector of cycles need not look at it
    return msgspec.defstruct(model.__name__, fields, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False)


def _field(name: str, field: FieldInfo) -> tuple[str, Any] | tuple[str, Any, Any]:
    kind, constraints = _type(field.annotation), _constraints(field.metadata)
    kind = Annotated[kind, msgspec.Meta(**constraints)] if constraints else kind
    return (name, kind) if field.is_required() else (name, kind, _default(kind, field.get_default()))


def _type(annotation: Any) -> Any:
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in (AwareDatetime, AwareDatetime | None):
        return msgspec.Raw
    if origin is UnionType and args[1:] == (NoneType,):
        return _type(args[0]) | None
    if annotation in (str, int, bool) or origin is Literal:
        return annotation
    if origin is tuple and args[1:] == (...,):
        return tuple[_type(args[0]), ...]  # type: ignore[misc]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return struct_of(annotation)
    raise TypeError(f"no struct for {annotation!r}")


def _constraints(metadata: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in metadata:
        known = {name: getattr(item, name) for name in _CONSTRAINTS if getattr(item, name, None) is not None}
        if not known:
            raise TypeError(f"no struct for the constraint {item!r}")
        found |= known
    if "pattern" in found:
        # pydantic's `$` is the text's end; Python's also stands before a last newline
        found["pattern"] = re.sub(r"\$$", r"\\Z", found["pattern"])
    return found


def _default(kind: Any, value: Any) -> Any:
    if isinstance(value, BaseModel):
        return msgspec.convert(value.model_dump(), kind)
    return msgspec.Raw(b"null") if kind is msgspec.Raw else value


class Received(msgspec.Struct, frozen=True, gc=False):
    """An ingest event as far as a flow needs it before a stage begins, and the JSON that it came as.

    `accepted_ms` is the event's own time in ms since 1970, 0 where it has none.
    """

    event_id: str
    asset_id: str
    tenant: str
    generation: int
    accepted_ms: int
    pipeline: str
    replay_of: str
    traceparent: str
    raw: bytes

    def event(self) -> IngestEvent:
        """The whole event: pydantic's work, for where it holds nothing up."""
        return IngestEvent.model_validate_json(self.raw)


_decode: Final[Callable[[bytes], Any]] = msgspec.json.Decoder(struct_of(IngestEvent)).decode
_time = msgspec.json.Decoder(Annotated[datetime, msgspec.Meta(tz=True)] | None).decode
_finer_time = TypeAdapter(AwareDatetime).validate_json
# the longest JSON of a time that cannot hold more than six digits after the second's point
_MICROSECONDS = len('"2000-01-01T00:00:00.000000Z"')


def read_time(raw: msgspec.Raw) -> datetime | None:
    """The time of a struct. Raises ValueError for what is none; of a few that only pydantic reads, too."""
    # what is finer than a microsecond, msgspec rounds and pydantic cuts off
    return _time(raw) if len(raw) <= _MICROSECONDS else _finer_time(bytes(raw))


def received(raw: bytes) -> Received:
    """An ingest event of structured JSON. Raises pydantic's ValidationError for what is none."""
    try:
        event = _decode(raw)
        time = read_time(event.time)
    except ValueError:
        event = IngestEvent.model_validate_json(raw)
        time = event.time
    data, accepted_ms = event.data, int(time.timestamp() * 1000) if time else 0
    asset = ids.asset_id(data.tenant, data.idempotency_key)
    return Received(
        event.id,
        asset,
        data.tenant,
        data.generation,
        accepted_ms,
        data.pipeline,
        data.replay_of,
        event.traceparent,
        raw,
    )
