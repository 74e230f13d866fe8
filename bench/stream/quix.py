"""The same work in Quix Streams: state in RocksDB with a changelog, at least once. Run in the rivals' environment."""

from __future__ import annotations

from typing import Any

from quixstreams import Application, State

from bench.stream.side import Given, Meter, main
from bench.stream.work import record, told
from schemas.cloudevents import decode_ingest
from schemas.messages import Message
from schemas.settings import Settings
from schemas.structs import Received
from schemas.topics import INGEST, STATUS, client_options, full_name


def run(settings: Settings, given: Given, meter: Meter) -> None:
    """Ends once all came in, with a commit of what they did."""
    name = full_name(settings, INGEST)

    def decoded(value: bytes, _key: Any, _time: int, headers: Any) -> Received:
        if meter.passed(1):
            app.stop()
        return decode_ingest(Message(name, 0, 0, None, value, dict(headers)))

    def is_first(event: Received, state: State) -> bool:
        if state.exists(event.event_id):
            return False
        state.set(event.event_id, True)
        return True

    app = Application(
        broker_address=client_options(settings)["bootstrap.servers"], consumer_group=f"{settings.topic_prefix}.quix",
        auto_offset_reset="earliest", commit_interval=given["epoch_s"], state_dir=given["store"],
        producer_extra_config=given["producer"], loglevel="WARNING",
    )  # fmt: skip
    events = app.dataframe(app.topic(name, value_deserializer="bytes"))
    events = events.apply(decoded, metadata=True).filter(is_first, stateful=True)
    events = events.apply(lambda event: record(told(event)).value)
    events.to_topic(app.topic(full_name(settings, STATUS), value_serializer="bytes"))
    app.run()


if __name__ == "__main__":
    main(run)
