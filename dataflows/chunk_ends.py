"""The ends of chunks between flows: `derive` hears of those that it has asked for, the flow `chunks` tells them."""

from __future__ import annotations

import bytewax.operators as op
import structlog
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream

from dataflows.runtime import Runtime
from operators.stage import StageOut
from schemas import topics
from schemas.chunks import ChunkEnd, ChunkTask, decode_end, encode_end
from schemas.messages import Message, Record
from schemas.outcome import Failed
from schemas.settings import Settings
from sources.kafka_admin import KafkaAdmin

_log = structlog.get_logger()


def hear_ends(flow: Dataflow, runtime: Runtime) -> None:
    """Has the stages hear of chunks' ends. Raises RuntimeError where they would be told to other processes."""
    check_partitions(runtime.settings)
    spreading = runtime.spreading
    assert spreading is not None

    def hear(_step: str, message: Message) -> None:
        try:
            runtime.loop.call(spreading.ended, decode_end(message))
        except ValueError as error:  # the records are looked at all the same
            _log.warning("chunk_end_unreadable", partition=message.partition, offset=message.offset, error=str(error))

    op.inspect("chunk_ends", op.input("chunks_done", flow, runtime.live(topics.CHUNKS_DONE)), hear)


def check_partitions(settings: Settings) -> None:
    """Raises RuntimeError unless an asset's work and the ends of its chunks lie in partitions of one number."""
    admin = KafkaAdmin(settings)
    works, ends = (admin.partitions(topic) for topic in (topics.VALIDATED, topics.CHUNKS_DONE))
    if works != ends:
        name, other = (topics.full_name(settings, topic) for topic in (topics.CHUNKS_DONE, topics.VALIDATED))
        raise RuntimeError(
            f"{name} has {ends} partitions, {other} has {works}: remove {name}, in which nothing is kept, and run "
            f"`asset-pipeline topics apply` with ASSET_PIPELINE_PARTITIONS={works}"
        )


def answer(runtime: Runtime, rendered: StageOut) -> None:
    """Tells how chunks ended to those who asked for them."""
    done = op.map("done", rendered.oks, lambda item: _end(item[1]))
    failed = op.map("failed", rendered.errs, lambda item: _failed(item[1]))
    ends: KeyedStream[Record] = op.merge("ends", done, failed)
    op.output("answers", ends, runtime.sink([topics.CHUNKS_DONE], lambda records: records))


def _end(task: ChunkTask, **failure: str) -> tuple[str, Record]:
    end = ChunkEnd(call=task.call, asset_id=task.work.asset_id, **failure)
    return end.asset_id, encode_end(end)


def _failed(failed: Failed[ChunkTask]) -> tuple[str, Record]:
    step = failed.attempts[-1].step if failed.attempts else ""
    return _end(failed.item, code=failed.code, detail=failed.detail, step=step)
