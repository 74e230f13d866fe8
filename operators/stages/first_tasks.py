"""What a sandboxed process does so that a video can be played at once: the quick gate, then the first segment."""

from __future__ import annotations

from operators.media.first import FirstSegment, first_segment, head_of, probe_of
from operators.media.signatures import HEAD_BYTES, media_type_of
from operators.media.source import Media, read_from
from operators.media.types import Detected, kind_of
from operators.stages.validate_tasks import expected, settled
from schemas.pipelines import Pipeline


def show(media: Media, name: str, declared: str, pipeline: Pipeline) -> FirstSegment | None:
    """The first segment, once the quick gate has let the file pass; None where it is no video.

    Raises what `validate_tasks.gate` and `first_segment` raise.
    """
    with read_from(media) as file:
        media_type = media_type_of(file.read(HEAD_BYTES))
    if media_type is None or kind_of(media_type) != "video":
        return None
    detected = expected(media, Detected(media_type, "video", 1.0, ""), name, declared, pipeline.limits)
    with head_of(media) as head:
        if head is None:
            return None
        technical = probe_of(head, media, pipeline.limits)
        settled(detected, technical, pipeline.limits)
        return first_segment(head, technical, pipeline.video, pipeline.audio, pipeline.preview)
