"""The report's parts: what it reads, what it leaves out, and what it never lets through."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import report_assets
import report_run as made
from PIL import Image

from dataflows.report import Ending, parse, write_report
from dataflows.report.lineage import HEIGHT, draw
from dataflows.report.placeholder import placeholder
from dataflows.report.rows import clock, safe_url, size, took
from schemas.errors import CODES, State
from sinks.objects import Objects


def store_in(folder: Path) -> Objects:
    """A store in this folder."""
    return Objects((folder / "store").as_uri())


def page_of(folder: Path, embed_limit: int = 2**24) -> str:
    """The page of one picture."""

    async def write() -> Path:
        store = store_in(folder)
        manifest = await report_assets.image(store, "chelsea.png", made.ATTACK, made.ATTACK)
        await store.remove("default", manifest.variants[-1].sha256)
        target = folder / "page.html"
        return await write_report([manifest], [made.ending(manifest)], store, target, embed_limit=embed_limit)

    return asyncio.run(write()).read_text("utf-8")


def test_cues_keep_their_times_and_lines_whatever_stands_around_them() -> None:
    """A WebVTT file with Windows line ends, notes, ids, settings and hours gives its cues."""
    vtt = (
        "WEBVTT x\r\n\r\nNOTE no\r\n\r\n1\r\n00:01.500 --> 01:00:02.000 align:start\r\n"
        "a\r\n<b>b</b>\r\n\r\nbroken --> x\r\nc"
    )
    assert parse.cues(vtt) == [(1.5, 3602.0, "a\n<b>b</b>")]


def test_tiles_are_places_in_the_sprite() -> None:
    """A storyboard map's #xywh becomes numbers; a cue without one, or without area, is left out."""
    first = "00:00.000 --> 00:01.000\ns.jpg#xywh=160,90,16,9"
    vtt = f"WEBVTT\n\n{first}\n\n00:01.000 --> 00:02.000\ns.jpg#xywh=0,0,0,9"
    assert parse.tiles(vtt) == [[0.0, 1.0, 160, 90, 16, 9]]


@pytest.mark.parametrize("bits", [8, 16])
def test_peaks_keep_the_extremes_of_every_channel(bits: int) -> None:
    """Thinning a waveform loses no peak, joins channels, and scales both sample widths to -127..127."""
    full = 2 ** (bits - 1)
    data = [0] * 40_000
    data[4 * 7_000 + 3], data[4 * 7_000] = full - 1, -full // 2
    document = {
        "version": 2,
        "channels": 2,
        "sample_rate": 8000,
        "samples_per_pixel": 8,
        "bits": bits,
        "data": data,
    }
    found, seconds = parse.peaks(json.dumps(document).encode(), 100)
    assert (len(found), max(found), min(found), seconds) == (200, 126 if bits == 8 else 127, -64, 10.0)


def test_quiet_sound_is_drawn_high_and_silence_flat() -> None:
    """Peaks are raised by eight at most, and never over the full height."""
    assert [parse.lifted(v) for v in ([], [0, 0], [-2, 1], [-100, 50])] == [[], [0, 0], [-16, 8], [-127, 64]]


@pytest.mark.parametrize(
    "data", [b"[]", b"{", b'{"data": "x"}', b'{"data": [1, 2], "samples_per_pixel": 1, "sample_rate": 0}']
)
def test_a_malformed_waveform_is_a_value_error(data: bytes) -> None:
    """What is no audiowaveform JSON is refused as such, not by whatever error comes first."""
    with pytest.raises(ValueError):
        parse.peaks(data)


def test_moments_of_one_label_in_a_row_are_one() -> None:
    """Neighbours with the same best label join; those without a label go."""
    raw = [
        {"start_s": s, "end_s": s + 1, "labels": [{"name": n, "score": 0.5}] if n else []} for s, n in enumerate("aa b")
    ]
    raw[2]["labels"] = []
    assert [(m.start, m.end) for m in parse.moments(raw)] == [(0, 2), (3, 4)]


def test_a_thumbhash_becomes_a_small_picture_of_the_same_colours() -> None:
    """A decoded placeholder runs from blue to orange as the picture did, in its own shape."""
    across = np.linspace(0, 1, 90)[None, :, None]
    ramp = np.array((60, 80, 170)) * (1 - across) + np.array((190, 140, 70)) * across
    picture = Image.fromarray(np.broadcast_to(ramp, (60, 90, 3)).astype(np.uint8))
    data = base64.b64decode(placeholder(made.hashed(picture)).partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert pixels.shape == (23, 32, 3)
    assert np.abs(pixels[:, 8] - ramp[0, 24]).max() < 30
    assert np.abs(pixels[:, 24] - ramp[0, 69]).max() < 30


@pytest.mark.parametrize("bad", ["", "?", "AAAA", "A" * 8])
def test_a_malformed_thumbhash_gives_no_picture(bad: str) -> None:
    """A placeholder that cannot be decoded is left out."""
    assert placeholder(bad) == ""


def test_lineage_runs_from_left_to_right_without_overlap(tmp_path: Path) -> None:
    """Every edge goes right, no two boxes overlap, and the original is first and the channel last."""
    drawing = draw(asyncio.run(report_assets.video(store_in(tmp_path))))
    assert drawing is not None
    boxes = {n.id: n for n in drawing.nodes}
    assert all(boxes[a].x + boxes[a].width < boxes[b].x for a, b, _ in drawing.edges)
    for a in drawing.nodes:
        assert not [b for b in drawing.nodes if a is not b and a.x == b.x and abs(a.y - b.y) < HEIGHT]
    by_place = sorted(drawing.nodes, key=lambda n: n.x)
    assert (by_place[0].what, by_place[-1].what) == ("original", "channel")


def test_many_pages_are_one_box(tmp_path: Path) -> None:
    """Files of a document that differ in their number only stand as one box with their count."""
    drawing = draw(asyncio.run(report_assets.document(store_in(tmp_path))))
    assert drawing is not None
    assert "page-001 … page-006 (6)" in [n.label for n in drawing.nodes]
    assert len(drawing.nodes) == 8


def test_hostile_text_is_text(tmp_path: Path) -> None:
    """A title, label and EXIF tag that close the script element appear escaped only."""
    page = page_of(tmp_path)
    assert "<img src=x" not in page
    assert "window.attacked=1&lt;/script&gt;" in page
    assert page.count("</script>") == page.count("<script")


def test_the_policy_names_the_page_s_own_script_and_style(tmp_path: Path) -> None:
    """The Content Security Policy allows nothing from outside, and inline only what has these hashes."""
    page = page_of(tmp_path)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None and "default-src &#39;none&#39;" in policy[1]
    for text in (
        page[page.index("<style>") + 7 : page.index("</style>")],
        page[page.rindex("<script>") + 8 : page.rindex("</script>")],
    ):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy[1].replace("&#43;", "+")
    assert not re.search(r'(src|poster|data-source)="(?!data:)', page)


def test_what_is_over_the_limit_is_named_and_linked(tmp_path: Path) -> None:
    """A variant that the limit keeps out of the page is said to be left out, with a link to it."""
    page = page_of(tmp_path, embed_limit=100)
    assert page.count("limit for embedded media is reached") == 2
    assert 'href="file:///' in page and "data:image/webp" not in page


def test_a_missing_object_is_named_and_the_page_is_still_written(tmp_path: Path) -> None:
    """An object that is gone costs its picture, not the report."""
    page = page_of(tmp_path)
    assert CODES["object_missing"].sentence.split(";")[0] in page
    assert page.count("data:image/webp") >= 1


def test_a_page_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """A second report takes the first one's place; a run of no assets is a page too."""
    target = tmp_path / "new" / "page.html"
    for _ in range(2):
        assert asyncio.run(write_report([], [], store_in(tmp_path), target)) == target
    assert [p.name for p in target.parent.iterdir()] == ["page.html"]


def test_every_code_says_what_to_do() -> None:
    """A failed asset's advice holds the code's sentence once, and the message where it says more."""
    sentence = CODES["truncated"].sentence
    for message in ("", sentence, f"{sentence} (at 3 s)", "at 3 s"):
        ending = Ending(asset_id="a", name="a", state=State.FAILED, code="truncated", message=message)
        assert ending.advice.count(sentence) == 1 and message in ending.advice


@pytest.mark.parametrize("url", ["javascript:alert(1)", "JaVa\tscript:alert(1)", "data:text/html,x", "", "http://["])
def test_only_addresses_that_run_nothing_are_links(url: str) -> None:
    """An address of another scheme is not linked."""
    assert safe_url(url) == ""


def test_sizes_and_times_are_for_people() -> None:
    """Bytes, durations and places in time are spelt with units that suit them."""
    assert [size(n) for n in (0, 1023, 1536, 5 * 2**30)] == ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
    assert [took(s) for s in (0.0, 0.0449, 0.9996, 3.25, 125)] == [
        "0 ms",
        "45 ms",
        "1.0 s",
        "3.2 s",
        "2 min 5 s",
    ]
    assert [clock(s) for s in (0, 67.9, 3723)] == ["0:00", "1:07", "1:02:03"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_contrast_enough(scheme: str) -> None:
    """Text and its ground differ by 4.5 to 1 (WCAG 2.2, 1.4.3), light and dark."""
    style = (Path(write_report.__code__.co_filename).parent / "templates" / "page.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.S)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", blocks[0] + (blocks[1] if scheme == "dark" else "")))
    grounds = {
        "ink": ("page", "card", "sunk", "bad-soft"),
        "soft": ("page", "card", "sunk"),
        "accent": ("card",),
    }
    pairs = [(text, ground) for text, under in grounds.items() for ground in under]
    pairs += [("on-accent", "accent"), ("good", "good-soft"), ("bad", "bad-soft"), ("warn", "warn-soft")]
    for text, ground in pairs:
        assert contrast(colours[text], colours[ground]) >= 4.5, (scheme, text, ground)


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two "#rrggbb" colours, 1..21."""

    def luminance(colour: str) -> float:
        linear = [
            c / 12.92 if (c := int(colour[i : i + 2], 16) / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
            for i in (1, 3, 5)
        ]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
