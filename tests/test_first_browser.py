"""The first playable in a real browser: hls.js begins with its first segment, and plays on while it grows."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import media_factory as make
import node
import pytest
from browser import chromium
from media_rendering import FAST, planned, rendered
from playwright.sync_api import Browser
from ranges import served
from test_first import first_of

from operators.media.audio import render_audio
from operators.media.segments import Cut, Entry, cut, event_playlist
from schemas.pipelines import AudioParams, PreviewParams

pytestmark = pytest.mark.tool("chromium")
__all__ = ["chromium"]
SECONDS = 8
PAGE = """<!doctype html><meta charset="utf-8"><video muted playsinline></video>
<script src="/hls.js"></script>
<script>
const video = document.querySelector("video"), said = { errors: [], buffers: {} };
const hls = new Hls({ startPosition: 0, enableWorker: false });
hls.on(Hls.Events.ERROR, (_, e) => { if (e.fatal || /append|pars/i.test(e.details)) said.errors.push(e.details); });
hls.on(Hls.Events.BUFFER_CREATED, (_, e) => {
  for (const [name, track] of Object.entries(e.tracks)) said.buffers[name] = track.buffer;
});
hls.loadSource("/media/preview.m3u8");
hls.attachMedia(video);
const ranges = b => [...Array(b.length).keys()].map(i => [b.start(i), b.end(i)]);
const buffered = () => Object.values(said.buffers).map(b => ranges(b.buffered));
</script>"""


@dataclass(frozen=True)
class Preview:
    """A folder with the first segment's files and those of the chunks, and their entries in the playlist."""

    folder: Path
    entries: Sequence[Entry]

    def list(self, count: int | None = None) -> None:
        """Replaces the playlist: by one of so many segments, or by one of all that has ended."""
        part = self.folder / "part"
        part.write_text(event_playlist(self.entries[:count], ended=count is None))
        part.replace(self.folder / "preview.m3u8")


@pytest.fixture(scope="module")
def preview(tmp_path_factory: pytest.TempPathFactory) -> Preview:
    """Of a video whose first segment is an encode of its own."""
    folder = tmp_path_factory.mktemp("media")
    clip = make.Clip(pts=range(24 * SECONDS), pixel_format="yuv444p", audio=make.tone(SECONDS, 0.2))
    source = make.write(folder / "source.mp4", clip)
    first, plan = first_of(source, FAST), planned(source)
    (folder / "first-init.mp4").write_bytes(first.init)
    (folder / "first.m4s").write_bytes(first.media)
    render_audio(source, folder, AudioParams(), PreviewParams(), ["preview"])
    _, chunks = rendered(source, folder, plan)
    entries = [Entry("first.m4s", "first-init.mp4", float(first.end))]
    for number, ((_, stop), chunk) in enumerate(zip(plan.chunks, chunks, strict=True)):
        end = Fraction(SECONDS) if stop is None else stop * plan.time_base - plan.origin
        path = folder / dict(chunk.encodes)["preview"]
        part = cut(path, folder / "preview.m4a", plan.origin, first.end, None, end, stop is None)
        entries += _added(folder, f"{number}.m4s", part)
    return Preview(folder, entries)


def _added(folder: Path, name: str, part: Cut) -> list[Entry]:
    if part.segments:
        (folder / "init.mp4").write_bytes(part.init)
        (folder / name).write_bytes(part.media)
    return [Entry(name, "init.mp4", each.seconds, (each.offset, each.bytes)) for each in part.segments]


def test_it_is_played_from_its_first_segment_to_its_end(preview: Preview, chromium: Browser, tmp_path: Path) -> None:
    """It begins while nothing else is there, goes on over the seams without a gap, in time, and ends."""
    with ThreadPoolExecutor(1) as pool:
        script = pool.submit(node.installed, node.WEB).result() / "hls.js" / "dist" / "hls.min.js"
    (tmp_path / "page.html").write_text(PAGE)
    preview.list(1)
    with served({"/page.html": tmp_path / "page.html", "/hls.js": script, "/media": preview.folder}) as address:
        page = chromium.new_page()
        page.goto(f"{address}/page.html")
        page.wait_for_function("video.buffered.length && video.buffered.end(0) > 1.9")
        for (found,) in page.evaluate("buffered()"):
            assert found == pytest.approx([0, 2], abs=0.02)
        page.evaluate("video.play()")
        page.wait_for_function("video.currentTime > 0.5")
        preview.list(3)
        page.wait_for_function("video.currentTime > 2.5")
        preview.list()
        page.evaluate("video.playbackRate = 4")
        page.wait_for_function("video.ended", timeout=60_000)
        for (found,) in page.evaluate("buffered()"):
            assert found == pytest.approx([0, SECONDS], abs=0.03)
        quality = page.evaluate("video.getVideoPlaybackQuality().totalVideoFrames")
        assert page.evaluate("video.currentTime") == pytest.approx(SECONDS, abs=0.05)
        assert quality >= 0.9 * SECONDS * 24 and page.evaluate("said.errors") == []
        page.close()
