"""The assets of the run in report_run.py: one of every kind, with every variant that the report can show."""

from __future__ import annotations

from pathlib import Path

import report_run as made
from PIL import Image

from dataflows.report import write_report
from schemas.asset import Kind
from schemas.errors import State
from schemas.manifest import Manifest
from schemas.ports import ObjectStore
from sinks.objects import Objects

BUNDLE = "file:///published/folder"


async def video(store: ObjectStore) -> Manifest:
    """A clip of 6 s with captions, a storyboard of a tile a second and two moments."""
    bench = made.Bench(
        store, "big-buck-bunny.mp4", Kind.VIDEO, made.VIDEO, title="Big Buck Bunny",
        description="A large rabbit leaves its burrow on a bright morning.", tags=("animation", "open movie"),
    )  # fmt: skip
    pictures = made.frames()
    await bench.start((made.SAMPLES / "big-buck-bunny.mp4").read_bytes(), "video/mp4")
    film = made.preview(pictures)
    sprite, tiles = made.storyboard(pictures)
    words, captions = made.spoken()
    sound = made.waveform(made.SAMPLES / "big-buck-bunny.mp4", made.SECONDS)
    await bench.add("derive.video", "mezzanine", "mezzanine", film + b"\0" * 8, "video/mp4", width=854)
    await bench.add("derive.audio", "audio", "audio", sound + b" ", "audio/mp4", duration_s=6.0)
    await bench.add("derive.audio", "speech", "speech", sound + b"  ", "audio/flac")
    await bench.add("preview.poster", "poster", "poster", made.encoded(pictures[60], "WEBP"), "image/webp")
    await bench.add("preview.storyboard", "storyboard", "storyboard", sprite, "image/jpeg", width=480)
    await bench.add("preview.storyboard", "storyboard-map", "storyboard", tiles, "text/vtt")
    await bench.add("derive.video", "preview", "preview", film, "video/mp4", width=640, height=360)
    await bench.add("preview.waveform", "waveform", "waveform", sound, "application/json", "audio")
    await bench.add("enrich.transcript", "transcript", "transcript", words, "application/json", "speech")
    await bench.add("enrich.transcript", "captions", "captions", captions, "text/vtt", "speech")
    bench.publish(BUNDLE)
    _video_steps(bench, pictures[60])
    return bench.manifest()


def _video_steps(bench: made.Bench, poster: Image.Image) -> None:
    loudness = {
        "before": {"integrated": -21.4, "true_peak": -5.6, "lra": 7.2}, "gain_db": 7.4,
        "after": {"integrated": -14.0, "true_peak": -1.7, "lra": 6.9}, "code": "",
    }  # fmt: skip
    moments = [
        {"start_s": 0.0, "end_s": 2.0, "labels": [{"name": "lakeside", "score": 0.41}]},
        {"start_s": 2.0, "end_s": 3.0, "labels": [{"name": "hare", "score": 0.62}]},
        {"start_s": 3.0, "end_s": 5.0, "labels": [{"name": "hare", "score": 0.58}]},
    ]
    labels = [{"name": "hare", "score": 0.62}, {"name": "meadow", "score": 0.2}]
    bench.step("validate.gate", 0.031)
    bench.step("validate.integrity", 0.42)
    bench.step("derive.video", 3.2)
    bench.step("derive.audio", 0.9, loudness=loudness)
    bench.step("preview.poster", 0.05)
    bench.step("preview.storyboard", 0.11)
    bench.step("preview.waveform", 0.07)
    bench.step("preview.placeholder", 0.01, thumbhash=made.hashed(poster), width=640, height=360)
    bench.step("enrich.labels", 0.6, labels=labels, moments=moments)
    bench.step("enrich.transcript", 1.4)
    bench.step("enrich.faces", 0.0, State.SKIPPED, "no_consent")


async def audio(store: ObjectStore) -> Manifest:
    """A speech of 11 s with its transcript."""
    bench = made.Bench(store, "jfk.flac", Kind.AUDIO, made.AUDIO, title="Inaugural address", language="en")
    source = made.SAMPLES / "jfk.flac"
    words, captions = made.spoken()
    await bench.start(source.read_bytes(), "audio/flac")
    sound = made.sound_preview()
    await bench.add("derive.audio", "audio", "audio", sound + b"\0" * 8, "audio/mp4")
    await bench.add("derive.audio", "preview", "preview", sound, "audio/mp4")
    await bench.add("preview.waveform", "waveform", "waveform", made.waveform(source, 11), "application/json")
    await bench.add("enrich.transcript", "transcript", "transcript", words, "application/json", "audio")
    await bench.add("enrich.transcript", "captions", "captions", captions, "text/vtt", "audio")
    bench.publish(BUNDLE)
    loudness = {
        "before": {"integrated": -19.8, "true_peak": -3.1, "lra": 4.4}, "gain_db": 5.8,
        "after": {"integrated": -14.2, "true_peak": -1.6, "lra": 4.1}, "code": "peak_bound",
    }  # fmt: skip
    bench.step("derive.audio", 0.7, loudness=loudness)
    bench.step("enrich.transcript", 1.1)
    return bench.manifest()


async def image(store: ObjectStore, name: str, title: str, label: str) -> Manifest:
    """A picture in two widths."""
    bench = made.Bench(store, name, Kind.IMAGE, made.IMAGE, title=title, description=f"A picture of {label}.")
    await bench.start((made.SAMPLES / name).read_bytes(), "image/png")
    with Image.open(made.SAMPLES / name) as opened:
        picture = opened.convert("RGB")
    for width in (720, 250):
        data = made.encoded(picture, "WEBP", min(width, picture.width))
        await bench.add("derive.image", f"rendition-{width}", "rendition", data, "image/webp", width=width)
    bench.publish(BUNDLE)
    bench.step("derive.image", 0.08)
    bench.step("preview.placeholder", 0.01, thumbhash=made.hashed(picture), width=451, height=300)
    bench.step("enrich.labels", 0.05, labels=[{"name": label, "score": 0.71}])
    return bench.manifest()


async def document(store: ObjectStore) -> Manifest:
    """Six pages with text, separated by form feeds."""
    bench = made.Bench(store, "guide.pdf", Kind.DOCUMENT, made.DOCUMENT, title="Field guide")
    await bench.start(b"%PDF-1.7 guide", "application/pdf")
    pages = [made.page(n) for n in range(1, 7)]
    await bench.add("preview.poster", "poster", "poster", made.encoded(pages[0], "WEBP", 400), "image/webp")
    for number, sheet in enumerate(pages, 1):
        data = made.encoded(sheet, "WEBP")
        await bench.add("derive.document", f"page-{number:03d}", "page", data, "image/webp", width=620)
    text = "\f".join(f"Chapter {n}\nWhat page {n} says of owls & hedgehogs." for n in range(1, 7))
    await bench.add("derive.document", "text", "text", text.encode(), "text/plain")
    bench.publish(BUNDLE)
    bench.step("derive.document", 0.3)
    return bench.manifest()


async def run(store: ObjectStore) -> tuple[list[Manifest], list[made.Ending]]:
    """Manifests and endings of a run with every kind, an attack in a title, and three that ended badly."""
    manifests = [
        await video(store), await audio(store), await image(store, "chelsea.png", "Chelsea", "tabby cat"),
        await image(store, "coffee.png", made.ATTACK, "espresso"), await document(store),
    ]  # fmt: skip
    endings = [made.ending(m, cached=("derive.video", "preview.poster")) for m in manifests]
    endings += [
        made.failed("interview-cut-short.mp4", "video", "truncated"),
        made.failed("link.jpg", "", "path_outside_input"),
        made.failed("crash.webm", "video", "decoder_crashed"),
    ]
    return manifests, endings


async def write(folder: Path) -> Path:
    """The run's report in this folder."""
    store = Objects((folder / "store").as_uri())
    manifests, endings = await run(store)
    return await write_report(manifests, endings, store, folder / "report.html")
