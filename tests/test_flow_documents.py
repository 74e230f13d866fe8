"""Documents and templates through the real command: found by page, drawn where they can be, and honest where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import document_factory as made
import pytest
import template_factory
from fake_office import fake_office
from flow_runs import Place
from media_fixtures import tiny_pdf

from schemas.manifest import Manifest

TEMPLATES = ["moving.lottie", "look.cube", "lower.template.zip"]
NAMES = ["talk.pptx", "words.docx", "figures.xlsx", "book.epub", "open.odt", "readme.md", "kanji.txt"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A document of each format."""
    folder = tmp_path_factory.mktemp("in")
    writers = [made.slides, made.word, made.sheets, made.epub, made.odt]
    for write, name in zip(writers, NAMES, strict=False):
        write(folder / name)
    (folder / "readme.md").write_text(made.MARKDOWN, "utf-8")
    template_factory.dotlottie(folder / "moving.lottie")
    (folder / "look.cube").write_text(template_factory.cube(5, template_factory.inverted))
    contents = {"p.png": template_factory.png()}
    template_factory.template(folder / "lower.template.zip", contents, preview={"picture": "p.png"})
    (folder / "kanji.txt").write_text("漢字かな交じり文", "utf-8")
    return folder


def by_name(place: Place) -> dict[str, Manifest]:
    """The manifests by the name of their document."""
    return {manifest.record.request.source.name: manifest for manifest in place.manifests()}


def steps(manifest: Manifest) -> dict[str, tuple[str, str]]:
    """State and code of each step."""
    return {f"{s.stage}.{s.step}": (str(s.state), s.code) for s in manifest.steps}


@pytest.fixture(scope="module")
def without(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run where LibreOffice is not installed; texts are named singly, since a folder's are left alone."""
    place = Place(tmp_path_factory.mktemp("without") / "out", {"ASSET_PIPELINE_OFFICE": "no-such-soffice"})
    ran = place.run(folder, folder / "readme.md", folder / "kanji.txt")
    assert set(ran) == {*NAMES, *TEMPLATES}
    return place


def test_without_office_pages_are_skipped_and_say_so(without: Place) -> None:
    """What only LibreOffice can draw is skipped by its own code; text and the documents' own pictures are made."""
    for name, manifest in by_name(without).items():
        if name in TEMPLATES:
            continue
        found, roles = steps(manifest), {v.role for v in manifest.variants}
        assert {"text", "text-pages"} <= roles, name
        drawn = name == "readme.md"
        code = "not_applicable" if name == "book.epub" else "no_office"
        assert found["derive.pages"] == (("completed", "") if drawn else ("skipped", code)), name
        assert ("page" in roles) == drawn
        assert ("poster" in roles) == (name not in ("figures.xlsx", "kanji.txt")), name
        if name in ("figures.xlsx", "kanji.txt"):
            assert found["preview.poster"] == ("skipped", "no_office")


def test_metadata_is_the_document_s_own(without: Place) -> None:
    """Title, description, keywords and what is hidden come from the document."""
    found = by_name(without)
    word = found["words.docx"].metadata
    assert (word.title, word.description, word.tags) == ("Kaffee von Hand", "How to brew", ("coffee", "filter"))
    assert found["book.epub"].metadata.title == "Small Book" and found["kanji.txt"].metadata.title == "kanji"
    talk = found["talk.pptx"].technical.document
    assert talk and (talk.pages, talk.unit, talk.hidden) == (3, "slide", 1)


def test_templates_have_poster_and_clip(without: Place) -> None:
    """An animation and a look have a poster and a clip; a template that carries a picture alone has no clip."""
    found = by_name(without)
    for name in TEMPLATES:
        steps_, variants = steps(found[name]), {v.name: v.media_type for v in found[name].variants}
        still = name == "lower.template.zip"
        assert variants == {"poster": "image/webp"} | ({} if still else {"clip": "video/mp4"})
        assert steps_["preview.clip"] == (("skipped", "not_applicable") if still else ("completed", ""))
        assert found[name].kind == "template" and found[name].technical.template
    assert found["look.cube"].metadata.title == "Known look"
    assert found["lower.template.zip"].metadata.tags == ("title", "name")


def test_search_finds_the_page(without: Place) -> None:
    """Words of a sheet find its workbook, and the sheet that they stand on."""
    best, *_ = without.rows("search", "salaries").values()
    assert (best["title"], best["page"]) == ("Figures", 2), best


@pytest.fixture(scope="module")
def drawn(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, dict[str, dict[str, Any]]]:
    """A run with the program: a fake that gives two pages for a document, none for a book of figures."""
    place = tmp_path_factory.mktemp("with")
    then = 'case "$source" in *.xlsx) echo broken; exit 3;; esac; cp "$(dirname "$0")/made.pdf" "$out/document.pdf"'
    program = fake_office(place / "fake", tiny_pdf(2), then)
    run = Place(place / "out", {"ASSET_PIPELINE_OFFICE": str(program)})
    return run, run.run(*(folder / name for name in ("words.docx", "kanji.txt", "figures.xlsx")), code=3)


def test_with_office_pages_are_drawn(drawn: tuple[Place, dict[str, dict[str, Any]]]) -> None:
    """With the program there is a PDF rendition, whose pages are pictures, even of text beyond the standard fonts."""
    found = by_name(drawn[0])
    assert set(found) == {"words.docx", "kanji.txt"}
    for manifest in found.values():
        assert [v.name for v in manifest.variants if v.role == "page"] == ["page-0001", "page-0002"]
        assert {"poster", "text"} <= {v.role for v in manifest.variants}
        (pdf,) = [v for v in manifest.variants if v.media_type == "application/pdf"]
        assert pdf.bytes == len(tiny_pdf(2)) and (pdf.name, pdf.role) == ("pdf", "rendition")


def test_office_that_fails_fails_the_asset(drawn: tuple[Place, dict[str, dict[str, Any]]]) -> None:
    """A conversion that fails ends in a dead letter with its code."""
    row = drawn[1]["figures.xlsx"]
    assert (row["state"], row["code"]) == ("failed", "office_failed")
