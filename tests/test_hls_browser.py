"""The HLS ladder in a real browser, played by hls.js over HTTP with byte ranges."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import media_factory as media
import node
import numpy as np
import pytest
from browser import chromium
from flow_runs import Place, found
from hls_ladder import PARAMS, RATE, Ladder, flashes, flashing, laddered
from models_fixtures import speech
from playwright.sync_api import Browser, Page
from ranges import served

from operators.media.hls import Text
from operators.media.hls_playlists import Label
from schemas.pipelines import Rung

pytestmark = pytest.mark.tool("chromium")
__all__ = ["chromium"]
SECONDS = 12
PAGE = """<!doctype html><meta charset="utf-8"><video muted playsinline></video><canvas></canvas>
<script src="/hls.js"></script>
<script>
const video = document.querySelector("video"), canvas = document.querySelector("canvas");
const said = { errors: [], levels: [], buffers: {} };
const hls = new Hls({ startLevel: 0, enableWorker: false });
hls.on(Hls.Events.ERROR, (_, e) => said.errors.push(e.details));
hls.on(Hls.Events.LEVEL_SWITCHED, (_, e) => said.levels.push(e.level));
hls.on(Hls.Events.BUFFER_CREATED, (_, e) => {
  for (const [name, track] of Object.entries(e.tracks)) said.buffers[name] = track.buffer;
});
hls.loadSource("/ladder/hls.m3u8");
hls.attachMedia(video);
const ranges = b => [...Array(b.length).keys()].map(i => [b.start(i), b.end(i)]);
const when = (target, name) => new Promise(done => target.addEventListener(name, done, { once: true }));
async function at(seconds) {
  const shown = new Promise(done => video.requestVideoFrameCallback((_, m) => done(m.mediaTime)));
  video.currentTime = seconds;
  const time = await shown, [w, h] = [video.videoWidth, video.videoHeight];
  [canvas.width, canvas.height] = [w, h];
  const pixels = canvas.getContext("2d", { willReadFrequently: true });
  pixels.drawImage(video, 0, 0);
  const luma = (x, y) => pixels.getImageData(x * w, y * h, 1, 1).data[1];
  const bits = [...Array(10).keys()].map(i => (luma((i + 0.5) / 10, 0.25) > 128) << i);
  return { time, number: bits.reduce((a, b) => a + b), lit: luma(0.5, 0.75) > 128 };
}
async function heard(path) {
  const context = new OfflineAudioContext(2, 1, 48000);
  const sound = await context.decodeAudioData(await (await fetch(path)).arrayBuffer());
  const samples = sound.getChannelData(0), found = [];
  let last = -48000;
  samples.forEach((value, i) => {
    if (Math.abs(value) > 0.05) { if (i - last > 24000) found.push(i / 48000); last = i; }
  });
  return { found, seconds: sound.duration };
}
</script>"""


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Ladder:
    """Twelve seconds in six segments and two renditions, with sound and English subtitles."""
    folder = tmp_path_factory.mktemp("ladder")
    texts = [Text("subtitles-0", "subtitles-0.vtt", Label("English", "en"))]
    made = laddered(flashing(folder / "clip.mkv", SECONDS), folder, texts)
    (made.folder / "subtitles-0.vtt").write_text("WEBVTT\n\n00:00:01.000 --> 00:00:03.000\nHello &amp; good day\n")
    return made


@pytest.fixture
def page(ladder: Ladder, chromium: Browser, tmp_path: Path) -> Iterator[Page]:
    """The player of the ladder."""
    with played(ladder.folder, chromium, tmp_path) as opened:
        yield opened


@contextmanager
def played(folder: Path, chromium: Browser, tmp_path: Path, seconds: float = SECONDS) -> Iterator[Page]:
    """The player, all of whose media is buffered; a test fails on any error of the player or the page."""
    with ThreadPoolExecutor(1) as pool:
        script = pool.submit(node.installed, node.WEB).result() / "hls.js" / "dist" / "hls.min.js"
    (tmp_path / "page.html").write_text(PAGE)
    with served({"/page.html": tmp_path / "page.html", "/hls.js": script, "/ladder": folder}) as address:
        opened, wrong = chromium.new_page(), []
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.goto(f"{address}/page.html")
        opened.wait_for_function(f"video.buffered.length && video.buffered.end(0) > {seconds - 0.1}")
        yield opened
        wrong += opened.evaluate("said.errors")
        opened.close()
    assert wrong == []


def test_av1_plays_and_shows_the_picture_of_each_time(chromium: Browser, tmp_path: Path) -> None:
    """A rendition by SVT-AV1 is one stretch without a gap, and at its seams shows the source's pictures."""
    rung = Rung(height=120, crf=30, gop_s=2.0, codec="av1", preset="10")
    params = PARAMS.model_copy(update={"ladder": (rung,)})
    ladder = laddered(flashing(tmp_path / "clip.mkv", SECONDS), tmp_path / "ladder", params=params, names=["av1120"])
    with played(ladder.folder, chromium, tmp_path) as page:
        assert one_range(page) == pytest.approx((0, SECONDS), abs=0.02)
        for number in (SECONDS * RATE - 1, 50, 49, 187, 0):
            found = page.evaluate("at", (number + 0.5) / RATE)
            assert (found["number"], round(found["time"] * RATE, 2)) == (number, number)


def one_range(page: Page) -> tuple[float, float]:
    """The only stretch that is buffered (s)."""
    (found,) = page.evaluate("ranges(video.buffered)")
    return tuple(found)


def test_it_plays_to_the_end_without_a_gap(page: Page) -> None:
    """All six segments of the first rendition lie in one range, and the clock runs through every seam to the end."""
    assert one_range(page) == pytest.approx((0, SECONDS), abs=0.02)
    page.evaluate("video.playbackRate = 4; video.play()")
    page.wait_for_function("video.ended", timeout=30_000)
    quality = page.evaluate("video.getVideoPlaybackQuality().totalVideoFrames")
    assert page.evaluate("video.currentTime") == pytest.approx(SECONDS, abs=0.05)
    assert quality >= 0.9 * SECONDS * RATE
    assert one_range(page) == pytest.approx((0, SECONDS), abs=0.02)


def test_seeking_shows_the_picture_of_that_time(page: Page) -> None:
    """Before, at and after a seam, backwards too, the picture is the source's at that time."""
    for number in (SECONDS * RATE - 1, 50, 49, 51, 187, 0):
        found = page.evaluate("at", (number + 0.5) / RATE)
        assert (found["number"], round(found["time"] * RATE, 2)) == (number, number)


def test_it_switches_between_the_renditions(page: Page) -> None:
    """The size changes with the level in both directions, and no gap arises where it does."""
    for level, height in ((1, 180), (0, 90)):
        page.evaluate(f"said.levels.length = 0; hls.currentLevel = {level}; video.play()")
        page.wait_for_function(f"said.levels.at(-1) === {level} && video.videoHeight === {height}")
        page.evaluate("video.pause()")
        page.wait_for_function(f"video.buffered.length == 1 && video.buffered.end(0) > {SECONDS - 0.1}")


def test_pictures_and_sound_are_in_time(page: Page) -> None:
    """Each flash is the picture of its time, each beep is heard within 5 ms of it, and both buffers begin at zero."""
    heard: dict[str, Any] = page.evaluate("heard('/ladder/hls-audio-media.m4a')")
    assert heard["found"] == pytest.approx(flashes(SECONDS), abs=0.005)
    for flash in flashes(SECONDS):
        before, on = (page.evaluate("at", flash + off) for off in (-0.02, 0.02))
        assert (before["lit"], on["lit"]) == (False, True)
        assert on["time"] == pytest.approx(flash, abs=0.001)
    buffers = page.evaluate("Object.fromEntries(Object.entries(said.buffers).map(([k, b]) => [k, ranges(b.buffered)]))")
    for name in ("audio", "video"):
        assert len(buffers[name]) == 1
        assert buffers[name][0] == pytest.approx((0, SECONDS), abs=0.02)


def test_subtitles_are_shown(page: Page) -> None:
    """The group's track is offered under its name, and its cue is there at its time."""
    assert subtitles(page, 0) == ["English", "en", [[1, 3, "Hello &amp; good day"]]]


def subtitles(page: Page, number: int) -> list[Any]:
    """A track's title, language and cues, once a player shows it."""
    page.evaluate(f"hls.subtitleTrack = {number}; hls.subtitleDisplay = true")
    track = f"video.textTracks[{number}]"
    page.wait_for_function(f"{track}?.cues?.length")
    shown: list[Any] = page.evaluate(
        f"(t => [t.label, t.language, [...t.cues].map(c => [c.startTime, c.endTime, c.text])])({track})"
    )
    return shown


def test_what_is_said_is_offered_beside_the_sources_subtitles(chromium: Browser, tmp_path: Path) -> None:
    """A run publishes the transcript's captions in the ladder, as heard; a second run makes nothing anew."""
    said, place = speech(), Place(tmp_path / "out")
    seconds, clip = len(said) / 16_000, tmp_path / "in" / "clip.mp4"
    clip.parent.mkdir()
    sound = np.tile(np.repeat(said, media.RATE // 16_000), (2, 1))
    media.write(clip, media.Clip(pts=range(int(24 * seconds)), audio=sound))
    clip.with_name("clip.fr.srt").write_text("1\n00:00:01,000 --> 00:00:03,000\nBonjour\n")
    row = place.run(clip.parent)["clip.mp4"]
    folder = place.out / "published" / "default" / row["asset_id"] / "current"
    with played(folder, chromium, tmp_path, int(seconds)) as page:
        assert subtitles(page, 0) == ["fr", "fr", [[1, 3, "Bonjour"]]]
        title, language, cues = subtitles(page, 1)
    assert (title, language) == ("en (automatic)", "en")
    assert "what your country can do for you" in " ".join(text.replace("\n", " ") for _, _, text in cues)
    assert all(0 <= start < end <= seconds for start, end, _ in cues)
    assert [variant["name"] for variant in place.table("variants")].count("hls") == 1
    assert found(place.run(clip.parent)["clip.mp4"])["enrich.captions"]
