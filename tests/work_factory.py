"""Works of every kind as they are between flows, with values that are hard to carry."""

from __future__ import annotations

from typing import Any

from schemas.asset import Declared, IngestRecord, IngestRequest, Kind, Output, Ref, Source, StepResult, StepRun, Work
from schemas.errors import State
from schemas.pipelines import Pipeline
from schemas.technical import AudioTrack, Document, Picture, SubtitleTrack, Technical, Template, VideoTrack

TECHNICAL = {
    Kind.VIDEO: Technical(
        kind="video", container="mov", size=2**40, duration=12.5, tags={"title": "Grüße", "encoder": ""},
        video=VideoTrack(codec="h264", width=1920, height=1080, rotation=90, frame_rate="30000/1001", hdr="pq"),
        audio=(AudioTrack(codec="aac", channels=2, layout="stereo", sample_rate=48_000, language="eng"),
               AudioTrack(codec="ac3", channels=6, layout="5.1", sample_rate=48_000, bit_rate=384_000)),
        subtitles=(SubtitleTrack(codec="mov_text"),),
    ),
    Kind.AUDIO: Technical(
        kind="audio", container="flac", size=1, bit_rate=700_000,
        audio=(AudioTrack(codec="flac", channels=1, layout="mono", sample_rate=44_100),),
    ),
    Kind.IMAGE: Technical(kind="image", container="webp", size=9, image=Picture(width=3, height=4, alpha=True)),
    Kind.DOCUMENT: Technical(
        kind="document", container="pdf", size=7, document=Document(pages=3, title="🐈", width=595.28, height=841.89)
    ),
    Kind.TEMPLATE: Technical(
        kind="template", container="cube", size=5, template=Template(format="cube", name="Look", dimensions=3, lut=33)
    ),
}  # fmt: skip
VALUES: dict[str, Any] = {
    "text": 'é"\\\n\x00🐈', "nothing": None, "flag": True, "whole": 1, "real": 1.0, "small": 5e-324, "large": 2**80,
    "negative": -0.1, "nested": {"list": [[0.252, 2.34], [], {"a": None}], "empty": {}},
}  # fmt: skip


def step(name: str, outputs: int, **changes: Any) -> StepRun:
    """A step's run with this many outputs."""
    files = tuple(
        Output(sha256=f"{i:064x}", bytes=i, media_type="image/webp", name=f"{name}-{i}", role="rendition",
               properties={"width": i, "sizes": [1, 2.5]} if i % 2 else {})
        for i in range(outputs)
    )  # fmt: skip
    result = {"result_id": f"{name:0>64}", "stage": "derive", "step": name, "version": "1", "outputs": files}
    return StepRun(result=StepResult(**(result | changes)), cached=outputs % 2 == 1)


def work(kind: Kind | None, number: int = 0) -> Work:
    """A work of this kind as it leaves a stage; of no kind, as it leaves ingest."""
    request = IngestRequest(
        source=Source(uri=f"file:///in/{number}.bin", name="é.bin"), idempotency_key=str(number), parents=("p", "q"),
        declared=Declared(title="A 🐈", tags=("x", "y")), tenant=f"t{number}",
    )  # fmt: skip
    record = IngestRecord(
        asset_id=request.asset_id, job_id=f"j{number}", event_id="e", accepted_ms=2**42 + number, request=request
    )
    if kind is None:
        return Work(record=record, pipeline=Pipeline(name="bare"))
    steps = (
        step("fetch", 0),
        step("renditions", 3, params={"widths": [1440, 720]}, inputs=("a" * 64,), values=VALUES, duration_s=0.1 + 0.2),
        step("poster", 1, state=State.SKIPPED, code="no_model"),
    )
    return Work(
        record=record, pipeline=Pipeline(original="archived", channels=()), kind=kind, technical=TECHNICAL[kind],
        original=Ref(sha256="f" * 64, bytes=2**62, media_type="x/y"), manifest_version=number, steps=steps,
    )  # fmt: skip


WORKS = [work(kind, number) for number, kind in enumerate([*TECHNICAL, None])]
