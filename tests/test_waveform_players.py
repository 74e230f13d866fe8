"""Waveform data as programs that are not ours read it: waveform-data.js in Node, peaks.js in a browser."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import media_factory as make
import node
import numpy as np
import pytest
from browser import chromium
from playwright.sync_api import Browser, Page, Route

from operators.media.audio import render_audio
from schemas.pipelines import AudioParams, PreviewParams

SECONDS, LOUD_FROM_S = 3.01, 2.0
READ = """
const fs = require("fs"), WaveformData = require("waveform-data");
const shown = (given) => {
  const found = WaveformData.create(given), channel = found.channel(0);
  return [found.channels, found.sample_rate, found.scale, found.bits, found.length, found.duration,
          channel.min_array(), channel.max_array()];
};
const data = fs.readFileSync(process.argv[2]);
const bytes = data.buffer.slice(data.byteOffset, data.byteOffset + data.length);
process.stdout.write(JSON.stringify([shown(bytes), shown(JSON.parse(fs.readFileSync(process.argv[1])))]));
"""
PAGE = """<!doctype html><audio id="sound" src="audio.m4a"></audio>
<div id="all" style="width: 150px; height: 100px"></div><script src="peaks.js"></script>"""
SHOW = """([kind, name]) => new Promise((resolve, reject) => peaks.init({
  overview: {container: document.getElementById("all"), waveformColor: "rgb(0, 200, 0)", showAxisLabels: false,
             axisGridlineColor: "rgba(0, 0, 0, 0)"},
  mediaElement: document.getElementById("sound"), dataUri: {[kind]: name},
}, (error, shown) => {
  if (error) return reject(error);
  const data = shown.getWaveformData();
  resolve([data.channels, data.length, data.duration, shown.player.getDuration()]);
}))"""
HEIGHTS = """() => new Promise((resolve) => requestAnimationFrame(() => {
  const canvases = [...document.querySelectorAll("#all canvas")];
  resolve([0.3, 0.9].map((place) => Math.max(...canvases.map((canvas) => {
    const {width, height} = canvas;
    const column = canvas.getContext("2d").getImageData(Math.round(width * place), 0, 1, height).data;
    return Array.from({length: height}, (_, y) => column[4 * y + 1] > 150 && column[4 * y + 3] > 100).filter(Boolean)
      .length / height;
  }))));
}))"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound that is loud from 2 s on, its waveform files and its delivered AAC."""
    made = tmp_path_factory.mktemp("waveform")
    samples = make.tone(SECONDS, 0.6)
    samples[:, : round(LOUD_FROM_S * make.RATE)] *= 0.2
    source = make.write_sound(made / "s.wav", samples)
    render_audio(source, made, AudioParams(), PreviewParams(), ["audio", "waveform"])
    return made


@pytest.mark.tool("node")
def test_json_and_binary_are_the_same_data(folder: Path) -> None:
    """waveform-data.js reads from both files the channels, rate, length and every sample that JSON says."""
    command = ["node", "-e", READ, folder / "waveform.json", folder / "waveform.dat"]
    modules = {"NODE_PATH": str(node.installed(node.WEB)), "PATH": str(Path(shutil.which("node") or "").parent)}
    done = subprocess.run(command, env=modules, capture_output=True, text=True, timeout=60, check=True)
    of_binary, of_json = json.loads(done.stdout)
    assert of_binary == of_json
    written = json.loads((folder / "waveform.json").read_text())
    pixels = -(-round(SECONDS * 16_000) // 256)
    assert of_json[:5] == [1, 16_000, 256, 8, pixels]
    assert of_json[5] == pytest.approx(SECONDS, abs=256 / 16_000)
    assert (of_json[6], of_json[7]) == (written["data"][::2], written["data"][1::2])
    assert max(of_json[7]) == pytest.approx(0.6 * 2**7, abs=1)


def test_binary_is_audiowaveforms_version_two(folder: Path) -> None:
    """A little-endian header of 24 bytes, then minimum and maximum of every pixel as 8-bit integers."""
    data = (folder / "waveform.dat").read_bytes()
    version, flags, rate, pixel, length, channels = struct.unpack("<iIiiIi", data[:24])
    assert (version, flags, rate, pixel, channels) == (2, 1, 16_000, 256, 1)
    assert np.frombuffer(data[24:], np.int8).tolist() == json.loads((folder / "waveform.json").read_text())["data"]
    assert len(data) == 24 + 2 * length


@pytest.fixture
def page(folder: Path, chromium: Browser) -> Iterator[Page]:
    """A page beside the files, which are served from nowhere but here."""
    library = node.installed(node.WEB) / "peaks.js" / "dist" / "peaks.js"

    def answer(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if name == "page.html":
            route.fulfill(body=PAGE, content_type="text/html")
        else:
            route.fulfill(path=library if name == "peaks.js" else folder / name)

    opened = chromium.new_page()
    opened.route("**/*", answer)
    opened.goto("http://waveform.test/page.html")
    yield opened
    opened.close()


@pytest.mark.tool("chromium")
@pytest.mark.parametrize(("kind", "name"), [("json", "waveform.json"), ("arraybuffer", "waveform.dat")])
def test_peaks_shows_them(page: Page, folder: Path, kind: str, name: str) -> None:
    """peaks.js takes either file beside the delivered sound, and draws loud places higher than quiet ones."""
    channels, length, seconds, played = page.evaluate(SHOW, [kind, name])
    written = json.loads((folder / "waveform.json").read_text())
    assert (channels, length) == (1, written["length"])
    assert seconds == pytest.approx(SECONDS, abs=0.02) and played == pytest.approx(SECONDS, abs=0.03)
    quiet, loud = page.evaluate(HEIGHTS)
    assert 0 < quiet < loud / 3


__all__ = ["chromium"]
