"""A run as the report sees it: small variants made from the samples, manifests and endings."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import thumbhash
from PIL import Image, ImageDraw

from dataflows.report import Ending, EndingStep
from schemas.asset import IngestRecord, IngestRequest, Kind, Source, StepResult
from schemas.errors import CODES, State
from schemas.manifest import Edge, Manifest, Metadata, Variant
from schemas.ports import ObjectStore
from schemas.technical import AudioTrack, Picture, Technical, VideoTrack
from schemas.technical import Document as Paged

SAMPLES = Path(__file__).parents[1] / "samples"
ATTACK = "</script><script>window.attacked=1</script><img src=x onerror='window.attacked=2'>"
SECONDS, TILE, TILES = 6, (160, 90), 6
WORDS = [
    "And",
    "so,",
    "my",
    "fellow",
    "Americans,",
    "ask",
    "not",
    "what",
    "your",
    "country",
    "can",
    "do",
    "for",
    "you",
]


class Bench:
    """Builds one manifest: each variant is stored and gets its lineage edge."""

    def __init__(self, store: ObjectStore, name: str, kind: Kind, technical: Technical, **metadata: Any) -> None:
        self.store, self.name, self.kind, self.technical = store, name, kind, technical
        self.metadata = Metadata(**({"title": name} | metadata))
        self.variants: list[Variant] = []
        self.edges: list[Edge] = []
        self.steps: list[StepResult] = []
        self.original = b""

    async def start(self, original: bytes, media_type: str) -> None:
        """Stores the original."""
        self.ref = await self.store.add_bytes("default", original, media_type)

    async def add(
        self, step: str, name: str, role: str, data: bytes, media: str, source: str = "", **more: Any
    ) -> None:
        """Stores a variant that a step ("stage.step") made of the original or of another variant."""
        ref = await self.store.add_bytes("default", data, media)
        url = self.store.url("default", ref.sha256)
        result = f"result-{step}"
        self.variants.append(
            Variant(**ref.model_dump(), name=name, role=role, url=url, result_id=result, properties=more)
        )
        made_of = next((v.sha256 for v in self.variants if v.name == source), self.ref.sha256)
        self.edges.append(self._edge(step, f"sha256:{made_of}", f"sha256:{ref.sha256}", name))

    def publish(self, url: str) -> None:
        """Every variant goes to a channel."""
        made = [self._edge("publish.folder", f"sha256:{v.sha256}", url, "folder") for v in self.variants]
        self.edges += made

    def _edge(self, step: str, source: str, target: str, name: str) -> Edge:
        stage, _, short = step.partition(".")
        return Edge(
            source=source, target=target, target_name=name, stage=stage, step=short, version="1",
            result_id=f"result-{step}",
        )  # fmt: skip

    def step(self, step: str, duration_s: float, state: State = State.COMPLETED, code: str = "", **values: Any) -> None:
        """A step's result."""
        stage, _, short = step.partition(".")
        self.steps.append(
            StepResult(
                result_id=f"result-{step}", stage=stage, step=short, version="1", values=values, state=state,
                code=code, duration_s=duration_s, params={"crf": 26} if step == "derive.video" else {},
            )
        )  # fmt: skip

    def manifest(self) -> Manifest:
        """What was added, as a manifest."""
        source = Source(uri=f"file:///in/{self.name}"[:200], name=self.name)
        request = IngestRequest(source=source, idempotency_key=self.name)
        record = IngestRecord(asset_id=request.asset_id, job_id="job", event_id="event", accepted_ms=0, request=request)
        return Manifest(
            version=1, asset_id=request.asset_id, job_id="job", tenant="default", kind=self.kind,
            record=record, pipeline="default", original=self.ref,
            original_url=self.store.url("default", self.ref.sha256),
            metadata=self.metadata, technical=self.technical, variants=tuple(self.variants),
            steps=tuple(self.steps), lineage=tuple(self.edges),
        )  # fmt: skip


def ending(manifest: Manifest, cached: Sequence[str] = ()) -> Ending:
    """The manifest's asset, completed."""
    steps = tuple(
        EndingStep(
            stage=s.stage, step=s.step, state=s.state, code=s.code, duration_s=s.duration_s,
            cached=f"{s.stage}.{s.step}" in cached,
        )
        for s in manifest.steps
    )  # fmt: skip
    size = manifest.original.bytes + sum(v.bytes for v in manifest.variants)
    return Ending(
        asset_id=manifest.asset_id, name=manifest.record.request.source.name, kind=manifest.kind,
        state=State.COMPLETED, steps=steps, bytes=size,
    )  # fmt: skip


def failed(name: str, kind: str, code: str) -> Ending:
    """An asset that ended with this code."""
    steps = (EndingStep(stage="validate", step="gate", state=State.FAILED, code=code, duration_s=0.04),)
    return Ending(
        asset_id=name, name=name, kind=kind, state=CODES[code].state, code=code, message=CODES[code].sentence,
        steps=steps,
    )  # fmt: skip


def frames() -> list[Image.Image]:
    """The clip's first pictures, 640 x 360, RGB."""
    with av.open(str(SAMPLES / "big-buck-bunny.mp4")) as clip:
        found: list[Image.Image] = []
        for frame in clip.decode(video=0):
            if (frame.time or 0) >= SECONDS:
                return found
            found.append(frame.to_image(width=640, height=360))
    return found


def preview(pictures: Sequence[Image.Image]) -> bytes:
    """H.264 at 24 pictures a second with the clip's sound as AAC."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        video: Any = out.add_stream("libx264", rate=24, options={"preset": "ultrafast", "crf": "28"})
        video.width, video.height, video.pix_fmt = 640, 360, "yuv420p"
        audio = out.add_stream("aac", rate=48000, layout="stereo")
        for picture in pictures:
            out.mux(video.encode(av.VideoFrame.from_image(picture)))
        out.mux(video.encode(None))
        out.mux(aac(audio, SAMPLES / "big-buck-bunny.mp4", SECONDS))
    return buffer.getvalue()


def aac(stream: Any, source: Path, seconds: float) -> list[av.Packet]:
    """The first seconds of a file's sound, encoded by this stream."""
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=48000)
    packets: list[av.Packet] = []
    with av.open(str(source)) as sound:
        for frame in sound.decode(audio=0):
            if (frame.time or 0) >= seconds:
                break
            for part in resampler.resample(frame):
                packets += stream.encode(part)
    return packets + stream.encode(None)


def sound_preview() -> bytes:
    """The speech as AAC in MP4."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        out.mux(aac(out.add_stream("aac", rate=48000, layout="stereo"), SAMPLES / "jfk.flac", 60))
    return buffer.getvalue()


def waveform(source: Path, seconds: float, per_pixel: int = 512) -> bytes:
    """audiowaveform's JSON, version 2, 8 bits, one channel."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=16000)
    with av.open(str(source)) as sound:
        parts = [p.to_ndarray()[0] for f in sound.decode(audio=0) for p in resampler.resample(f)]
    samples = np.concatenate(parts)[: int(seconds * 16000)]
    pixels = samples[: len(samples) // per_pixel * per_pixel].reshape(-1, per_pixel) // 256
    data = np.stack([pixels.min(axis=1), pixels.max(axis=1)], axis=1).ravel().tolist()
    document = {
        "version": 2, "channels": 1, "sample_rate": 16000, "samples_per_pixel": per_pixel, "bits": 8,
        "length": len(pixels), "data": data,
    }  # fmt: skip
    return json.dumps(document).encode()


def storyboard(pictures: Sequence[Image.Image]) -> tuple[bytes, bytes]:
    """A sprite of three columns with one tile a second, and its WebVTT map."""
    sprite, lines = Image.new("RGB", (TILE[0] * 3, TILE[1] * 2)), ["WEBVTT", ""]
    for at in range(TILES):
        x, y = at % 3 * TILE[0], at // 3 * TILE[1]
        sprite.paste(pictures[at * 24].resize(TILE), (x, y))
        cue = f"00:{at:02d}.000 --> 00:{at + 1:02d}.000"
        lines += [cue, f"storyboard.jpg#xywh={x},{y},{TILE[0]},{TILE[1]}", ""]
    return encoded(sprite, "JPEG"), "\n".join(lines).encode()


def encoded(picture: Image.Image, form: str, width: int = 0) -> bytes:
    """The picture's file, scaled to a width where one is given."""
    if width:
        picture = picture.resize((width, round(picture.height * width / picture.width)))
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, form, quality=80)
    return buffer.getvalue()


def hashed(picture: Image.Image) -> str:
    """The picture's ThumbHash in base64."""
    small = picture.convert("RGBA")
    small.thumbnail((100, 100))
    flat = np.asarray(small).ravel().tolist()
    return base64.b64encode(bytes(thumbhash.rgba_to_thumb_hash(small.width, small.height, flat))).decode()


def spoken() -> tuple[bytes, bytes]:
    """A transcript with a word every 0.4 s, and captions in two cues."""
    words: list[dict[str, Any]] = [
        {"start": 0.4 * i, "end": 0.4 * (i + 1), "word": " " + w, "probability": 0.3 if w == "not" else 0.97}
        for i, w in enumerate(WORDS)
    ]
    segments = [
        {"start": p[0]["start"], "end": p[-1]["end"], "text": "".join(w["word"] for w in p), "words": p}
        for p in (words[:7], words[7:])
    ]
    cues = [f"{_stamp(s['start'])} --> {_stamp(s['end'])}\n{s['text'].strip()}" for s in segments]
    document = {"id": "transcript-1", "language": "en", "segments": segments}
    return json.dumps(document).encode(), "\n\n".join(["WEBVTT", *cues]).encode()


def _stamp(seconds: float) -> str:
    return f"00:00:{seconds:06.3f}"


def page(number: int) -> Image.Image:
    """A page with a heading and lines."""
    sheet = Image.new("RGB", (620, 877), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((60, 60), f"Chapter {number}", fill="black", font_size=40)
    for line in range(14):
        pen.rectangle((60, 150 + line * 40, 560 - line * 37 % 120, 160 + line * 40), fill=(205, 208, 216))
    return sheet


VIDEO = Technical(
    kind="video", container="mov,mp4", size=1578624, duration=SECONDS, bit_rate=1_050_000,
    video=VideoTrack(codec="h264", profile="High", width=854, height=480, frame_rate="24/1"),
    audio=(AudioTrack(codec="aac", channels=6, layout="5.1", sample_rate=48000),),
)  # fmt: skip
AUDIO = Technical(
    kind="audio", container="flac", size=1152693, duration=11.0,
    audio=(AudioTrack(codec="flac", channels=2, layout="stereo", sample_rate=44100),),
)  # fmt: skip
IMAGE = Technical(
    kind="image", container="png", size=240512, image=Picture(width=451, height=300, mode="RGB"),
    tags={"EXIF:Artist": ATTACK},
)  # fmt: skip
DOCUMENT = Technical(kind="document", container="pdf", size=9000, document=Paged(pages=6, version="1.7"))
