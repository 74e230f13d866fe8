"""What a file is, by its content: magika's model, and signatures for containers the model does not tell apart."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path

from magika import Magika

from operators.media.signatures import HEAD_BYTES, media_type_of, packaged_type
from operators.media.types import Detected, kind_of


@cache
def _model() -> Magika:
    return Magika()


def sample_of(path: Path) -> bytes:
    """All of a small file, else its first and last 64 KiB: what signatures and model look at."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if size <= 2 * HEAD_BYTES:
            return file.read()
        head = file.read(HEAD_BYTES)
        file.seek(-HEAD_BYTES, 2)
        return head + file.read()


def detect(sample: bytes) -> Detected:
    """The content type of a file's sample; never from its name.

    A signature that holds beyond doubt wins over the model. MP4, Matroska and such count as video here;
    `types.settle` corrects that once their streams are known.
    """
    found = _model().identify_stream(BytesIO(sample))
    media_type = media_type_of(sample[:HEAD_BYTES]) or packaged_type(sample) or found.output.mime_type
    score, label = round(float(found.score), 4), str(found.output.label)
    return Detected(media_type, kind_of(media_type), score, label, bool(found.output.is_text))
