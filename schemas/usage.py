"""Events of use at the border: what became of an asset after its publication, and their rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec
from pydantic import AwareDatetime, Field, ValidationError

from schemas import ids
from schemas.base import Model
from schemas.events import CloudEvent
from schemas.messages import refused, refused_model
from schemas.structs import read_time, struct_of
from schemas.tables import UsageEventRow

USAGE: Final = "assets.usage.recorded.v1"
_ID: Final = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
# sums of a million of these are still whole numbers of 64 bits
_MOST: Final = 10**12
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# row ids begin with thirteen digits
_END_MS: Final = 10**13


class Price(Model):
    """What was paid: an amount in the currency's minor units (cents), and its ISO 4217 code."""

    amount: int = Field(ge=0, le=_MOST)
    currency: str = Field(pattern=r"^[A-Z]{3}$")


class Usage(Model):
    """One use of an asset, or `quantity` of the same kind at once.

    placed: put into a timeline; reused: taken up in another work; sold, with its `price`; derived: another asset was
    made from it, `derived_asset_id`; viewed; downloaded. The price is of the whole quantity.
    """

    tenant: str = Field(default="default", pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    asset_id: str = Field(pattern=_ID)
    action: Literal["placed", "reused", "sold", "derived", "viewed", "downloaded"]
    quantity: int = Field(default=1, ge=1, le=_MOST)
    price: Price | None = None
    derived_asset_id: str = Field(default="", pattern=rf"^({_ID[1:-1]})?$")


class UsageEvent(CloudEvent[Usage]):
    """An asset was used, at the event's own time."""

    type: Literal["assets.usage.recorded.v1"] = USAGE
    time: AwareDatetime


_decode = msgspec.json.Decoder(struct_of(UsageEvent)).decode


def usage_row(raw: bytes) -> dict[str, Any]:
    """The row of `usage_events` of an event of structured JSON. Raises ValueError, naming the field that is wrong.

    Events with the same tenant, source, id and time are one.
    """
    try:
        event: Any = _decode(raw)
        time = read_time(event.time)
    except ValueError:
        time = None
    if time is None:
        event, time = _judged(raw)
    at_ms = (time - _EPOCH) // timedelta(milliseconds=1)
    if not 0 <= at_ms < _END_MS:
        raise refused("time", "not between 1970 and 2286")
    return _row(event, at_ms)


def _judged(raw: bytes) -> tuple[UsageEvent, datetime]:
    try:
        event = UsageEvent.model_validate_json(raw)
    except ValidationError as error:
        raise refused_model(error) from None
    return event, event.time


def _row(event: Any, at_ms: int) -> dict[str, Any]:
    data, price = event.data, event.data.price
    return vars(UsageEventRow(
        row_id=ids.row_id(at_ms, "usage_events", data.tenant, event.source, event.id),
        event_id=event.id, source=event.source, tenant=data.tenant, asset_id=data.asset_id, action=data.action,
        quantity=data.quantity, amount=price.amount if price else 0, currency=price.currency if price else "",
        derived_asset_id=data.derived_asset_id, at_ms=at_ms,
    ))  # fmt: skip
