"""What processes say to each other of chunks: one that is to be rendered, and how that ended."""

from __future__ import annotations

from typing import Final, TypeVar

from pydantic import ValidationError

from schemas.asset import Work
from schemas.base import Model
from schemas.errors import AssetError
from schemas.messages import CONTENT_TYPE, JSON, Message, Record, refused_model
from schemas.topics import CHUNKS, CHUNKS_DONE

M = TypeVar("M", bound=Model)
_HEADERS: Final = {CONTENT_TYPE: JSON.encode()}


class ChunkTask(Model):
    """These outputs of the pictures with start <= pts < stop are to be made.

    `range` is in ticks of the source's clock, the first open below, the last above. `call` is of this request alone,
    `chunk_id` of what is asked for: a digest of its result ids.
    """

    call: str
    chunk_id: str
    work: Work
    range: tuple[int | None, int | None]
    outputs: tuple[str, ...]


class ChunkEnd(Model):
    """A chunk has ended: its results are recorded, or it failed with this code in this step."""

    call: str
    asset_id: str
    code: str = ""
    detail: str = ""
    step: str = ""

    def error(self) -> AssetError | None:
        """Why it failed, None where it did not. A code that only a newer version knows is `internal`."""
        if not self.code:
            return None
        try:
            error = AssetError(self.code, self.detail)
        except ValueError:
            error = AssetError("internal", f"{self.code}: {self.detail}")
        error.step = self.step
        return error


def encode_task(task: ChunkTask) -> Record:
    """The message that asks for a chunk."""
    return Record(CHUNKS.name, task.chunk_id, task.model_dump_json().encode(), _HEADERS)


def encode_end(end: ChunkEnd) -> Record:
    """The message that answers."""
    return Record(CHUNKS_DONE.name, end.asset_id, end.model_dump_json().encode(), _HEADERS)


def decode_task(message: Message) -> ChunkTask:
    """The chunk that a message asks for. Raises ValueError."""
    return _decoded(ChunkTask, message)


def decode_end(message: Message) -> ChunkEnd:
    """The end that a message tells of. Raises ValueError."""
    return _decoded(ChunkEnd, message)


def _decoded(model: type[M], message: Message) -> M:
    try:
        return model.model_validate_json(message.value or b"")
    except ValidationError as error:
        raise refused_model(error) from error
