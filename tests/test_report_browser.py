"""The report in a real browser, opened from a file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import report_assets
from browser import chromium
from playwright.sync_api import Browser, Locator, Page, expect

pytestmark = pytest.mark.tool("chromium")
__all__ = ["chromium"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's report; in a thread, since the browser's event loop may stand in this one."""
    folder = tmp_path_factory.mktemp("report")
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(report_assets.write(folder))).result()


@pytest.fixture
def page(report: Path, chromium: Browser) -> Iterator[Page]:
    """The report, freshly opened; a test fails on any message, error or request to elsewhere."""
    context = chromium.new_context(viewport={"width": 1400, "height": 1000})
    opened, wrong = context.new_page(), []
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on(
        "request",
        lambda r: wrong.append(r.url) if r.url.split(":")[0] not in ("file", "data", "blob") else None,
    )
    opened.goto(report.as_uri())
    yield opened
    context.close()
    assert wrong == []


def card(page: Page, number: int) -> Locator:
    """A card, opened."""
    found = page.locator(f"#asset-{number}")
    found.locator("> details > summary").click()
    return found


def now(media: Locator) -> float:
    """The media's position in seconds, once it is no longer seeking."""
    media.page.wait_for_function("m => m.readyState >= 2 && !m.seeking", arg=media.element_handle())
    return float(media.evaluate("m => m.currentTime"))


def test_the_video_plays_with_its_captions(page: Page) -> None:
    """The preview decodes, its clock runs, and a caption's words are on."""
    video = card(page, 1).locator("video")
    video.evaluate("v => { v.muted = true; return v.play(); }")
    page.wait_for_function("v => v.currentTime > 0.3", arg=video.element_handle())
    assert video.evaluate("v => [v.videoWidth, v.videoHeight]") == [640, 360]
    shown = video.evaluate("v => [v.textTracks[0].mode, v.textTracks[0].activeCues[0].text]")
    assert shown == ["showing", "And so, my fellow Americans, ask not"]


def test_pointing_along_the_timeline_changes_the_tile(page: Page) -> None:
    """Each place on the timeline shows the storyboard's tile of its time, and a click seeks there."""
    opened = card(page, 1)
    timeline, canvas = opened.locator(".timeline"), opened.locator(".tile canvas")
    timeline.scroll_into_view_if_needed()
    box = timeline.bounding_box()
    assert box is not None
    seen = []
    for share in (0.1, 0.55, 0.95):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + 20)
        expect(canvas).to_have_attribute("data-start", str(int(share * 6)))
        seen.append(canvas.evaluate("c => c.toDataURL()"))
    assert len(set(seen)) == 3
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
    assert now(opened.locator("video")) == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("number", [1, 2])
def test_the_waveform_is_drawn_and_marks_what_was_played(page: Page, number: int) -> None:
    """The canvas has ink, and its picture changes with the position."""
    opened = card(page, number)
    wave, media = opened.locator(".wave"), opened.locator("video, audio")
    ink = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 === 3 && v).length"
    assert wave.evaluate(ink) > 1000
    before = wave.evaluate("c => c.toDataURL()")
    assert now(media) == 0.0
    opened.locator(".timeline").press("End")
    assert now(media) > 5
    assert wave.evaluate("c => c.toDataURL()") != before


def test_the_timeline_answers_the_keyboard(page: Page) -> None:
    """Arrows move by a second and the slider's value is told to those who do not see it."""
    opened = card(page, 1)
    timeline = opened.locator(".timeline")
    assert now(opened.locator("video")) == 0.0
    timeline.press("ArrowRight")
    timeline.press("ArrowRight")
    assert now(opened.locator("video")) == pytest.approx(2.0, abs=0.1)
    expect(timeline).to_have_attribute("aria-valuetext", "0:02 of 0:06")


def test_a_word_and_a_moment_seek_and_are_marked(page: Page) -> None:
    """A click on a word of the transcript, or on a moment, goes there and marks it."""
    opened = card(page, 1)
    video = opened.locator("video")
    opened.get_by_text("Americans,", exact=True).click()
    assert now(video) == pytest.approx(1.6, abs=0.05)
    expect(opened.locator(".word.now")).to_have_text("Americans,")
    opened.locator(".moments button").nth(1).click()
    page.wait_for_function("v => v.currentTime >= 2", arg=video.element_handle())
    expect(opened.locator(".moments .now")).to_contain_text("hare")


def test_the_speech_plays_and_shows_its_captions(page: Page) -> None:
    """Audio plays, and its caption stands above the player."""
    opened = card(page, 2)
    audio = opened.locator("audio")
    audio.evaluate("a => { a.muted = true; return a.play(); }")
    page.wait_for_function("a => a.currentTime > 0.2", arg=audio.element_handle())
    expect(opened.locator(".caption")).to_have_text("And so, my fellow Americans, ask not")


def test_cards_are_filtered_by_kind_state_and_words(page: Page) -> None:
    """Kinds and states are chosen, words are found in titles, labels, transcripts and documents."""
    shown = page.locator(".card:visible")
    expect(shown).to_have_count(8)
    for choice, count in (("video", 3), ("failed", 2)):
        page.get_by_role("button", name=choice).click()
        expect(shown).to_have_count(count)
    page.get_by_role("button", name="failed").click()
    page.get_by_role("button", name="video").click()
    for words, count in (("tabby", 1), ("FELLOW americans", 2), ("hedgehogs", 1), ("nowhere at all", 0)):
        page.get_by_role("searchbox").fill(words)
        expect(shown).to_have_count(count)
    page.get_by_role("button", name="Clear the filters").click()
    expect(shown).to_have_count(8)


def test_a_hostile_title_stays_text(page: Page) -> None:
    """Markup in a title is read as it was written, and none of it runs."""
    expect(card(page, 4).locator(".title")).to_have_text(report_assets.made.ATTACK)
    assert page.evaluate("window.attacked") is None
    assert page.locator("img[src=x]").count() == 0


def test_a_failed_asset_says_what_to_do(page: Page) -> None:
    """The header leads to the asset that failed, which says its code, what to do, and whether to replay."""
    page.get_by_role("link", name="crash.webm").click()
    notice = page.locator("#asset-8 .notice")
    expect(notice).to_contain_text("decoder_crashed")
    expect(notice).to_contain_text("export it again in another format")
    expect(notice).to_contain_text("asset-pipeline replay")


def test_pointing_at_a_file_shows_its_path_in_the_lineage(page: Page) -> None:
    """What made a file and what came of it stand out; the rest steps back."""
    graph = card(page, 1).locator(".lineage svg")
    graph.locator(".node", has_text="captions").hover()
    hot = graph.locator(".node.hot text").all_text_contents()
    path = [
        "big-buck-bunny.mp4",
        "captions",
        "derive.audio",
        "enrich.transcript",
        "folder",
        "publish.folder",
        "speech",
    ]
    assert sorted(t.strip() for t in hot) == path


def test_a_document_shows_its_pages(page: Page) -> None:
    """Each page's picture stands beside its text."""
    pages = card(page, 5).locator(".pages li")
    expect(pages).to_have_count(6)
    assert pages.nth(2).locator("img").evaluate("i => i.decode().then(() => i.naturalWidth)") == 620
    expect(pages.nth(2).locator("pre")).to_contain_text("What page 3 says of owls & hedgehogs.")


def test_nothing_is_wider_than_a_phone(page: Page) -> None:
    """At 390 pixels the page does not scroll sideways, whatever is open."""
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("document.querySelectorAll('.card > details').forEach((d) => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
