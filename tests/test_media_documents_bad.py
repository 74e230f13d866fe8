"""Documents that are damaged, locked or made to harm: each is refused with its code, before it costs anything."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import document_factory as made
import pytest

from operators.media import documents
from operators.media.content_type import detect, sample_of
from operators.media.types import DOCX, EPUB, MARKDOWN, ODT, PPTX, TEXT, XLSX, check_declared
from operators.stages.validate_tasks import gate
from schemas.errors import AssetError
from schemas.pipelines import Limits

LIMITS = Limits()
BOMB = b"\0" * (17 * 2**20)


def parts_of(path: Path) -> dict[str, bytes]:
    """An archive's parts."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def code_of(path: Path, media_type: str, limits: Limits = LIMITS, check: object = documents.quick) -> str:
    """The code under which the document is refused."""
    with pytest.raises(AssetError) as raised:
        check(path, media_type, limits)  # type: ignore[operator]
    assert str(path) not in str(raised.value)
    return raised.value.code


@pytest.fixture
def word(tmp_path: Path) -> dict[str, bytes]:
    """The parts of a good document."""
    return parts_of(made.word(tmp_path / "good.docx"))


def test_bombs(tmp_path: Path, word: dict[str, bytes]) -> None:
    """A part that unpacks to a thousand times its size is refused unread, and so are too many parts."""
    assert code_of(made.zipped(tmp_path / "a", word | {"word/x.bin": BOMB}), DOCX) == "unpacks_too_large"
    many = word | {f"word/{number}.xml": b"" for number in range(20_001)}
    assert code_of(made.zipped(tmp_path / "b", many), DOCX) == "unpacks_too_large"


def test_size_that_lies(tmp_path: Path, word: dict[str, bytes]) -> None:
    """A part that claims to be small is read no further than it claims."""
    data = made.zipped(tmp_path / "a", word | {"word/document.xml": word["word/document.xml"] + BOMB}).read_bytes()
    real = (len(word["word/document.xml"]) + len(BOMB)).to_bytes(4, "little")
    assert data.count(real) >= 1
    (tmp_path / "b").write_bytes(data.replace(real, (20_000).to_bytes(4, "little")))
    assert code_of(tmp_path / "b", DOCX) in ("corrupt_document", "unpacks_too_large")


@pytest.mark.parametrize(
    "prolog",
    [b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>', b'<!DOCTYPE x SYSTEM "file:///etc/passwd">',
     b'<!DOCTYPE x [<!ENTITY a SYSTEM "http://127.0.0.1/">]>'],
)  # fmt: skip
def test_entities_and_outside_references(tmp_path: Path, word: dict[str, bytes], prolog: bytes) -> None:
    """XML with a document type of its own is refused: no entity grows, no file and no address is read."""
    body = word["word/document.xml"].partition(b"?>")[2]
    assert code_of(made.zipped(tmp_path / "a", word | {"word/document.xml": prolog + body}), DOCX) == "corrupt_document"


def test_deep_nesting(tmp_path: Path, word: dict[str, bytes]) -> None:
    """XML nested beyond all reason is corrupt, not a crash."""
    namespace = b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
    deep = namespace + b"<w:p>" * 50_000 + b"</w:p>" * 50_000 + b"</w:body></w:document>"
    assert code_of(made.zipped(tmp_path / "a", word | {"word/document.xml": deep}), DOCX) == "corrupt_document"


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/x", "word/../../x"])
def test_paths_that_lead_out(tmp_path: Path, word: dict[str, bytes], name: str) -> None:
    """A part whose name leads out of the archive is refused, although nothing is ever unpacked to a folder."""
    assert code_of(made.zipped(tmp_path / "a", word | {name: b"x"}), DOCX) == "corrupt_document"


def test_cut_and_damaged(tmp_path: Path, word: dict[str, bytes]) -> None:
    """A document without its end is truncated; one with a flipped byte or a missing part is corrupt."""
    whole = made.zipped(tmp_path / "a", word).read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    assert code_of(tmp_path / "cut", DOCX) == "truncated"
    at = whole.index(b"word/media") if b"word/media" in whole else whole.index(b"word/styles.xml") + 200
    (tmp_path / "flipped").write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
    assert code_of(tmp_path / "flipped", DOCX, check=documents.check) == "corrupt_document"
    rest = {name: data for name, data in word.items() if name != "word/document.xml"}
    assert code_of(made.zipped(tmp_path / "b", rest), DOCX) == "corrupt_document"


@pytest.mark.parametrize(("media_type", "write"), [(PPTX, made.slides), (XLSX, made.sheets), (ODT, made.odt)])
def test_wrong_main_part(tmp_path: Path, media_type: str, write: object) -> None:
    """A package whose main part says nothing of the kind has no pages to give."""
    parts = parts_of(write(tmp_path / "good"))  # type: ignore[operator]
    main = next(n for n in ("ppt/presentation.xml", "xl/workbook.xml", "content.xml") if n in parts)
    path = made.zipped(tmp_path / "a", parts | {main: b"<wrong/>"})
    assert code_of(path, media_type) == "corrupt_document"


def test_too_many_pages(tmp_path: Path) -> None:
    """The limit of pages holds for slides, sheets, chapters and lines of text."""
    limits = Limits(pages=1)
    assert code_of(made.slides(tmp_path / "a"), PPTX, limits) == "too_many_pages"
    assert code_of(made.sheets(tmp_path / "b"), XLSX, limits) == "too_many_pages"
    assert code_of(made.epub(tmp_path / "c"), EPUB, limits) == "too_many_pages"
    (tmp_path / "d").write_text("x\n" * 61)
    assert code_of(tmp_path / "d", TEXT, limits) == "too_many_pages"
    (tmp_path / "e").write_text("x" * 80 * 60 * 4 + "x")
    assert code_of(tmp_path / "e", MARKDOWN, limits) == "too_many_pages"


def compound(word_: str) -> bytes:
    """The start of a compound file (MS-CFB) with a stream of this name."""
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1016) + word_.encode("utf-16-le") + bytes(2000)


def test_passwords(tmp_path: Path, word: dict[str, bytes]) -> None:
    """Encrypted Office files, encrypted parts and copy-protected books are told as such; other compound files not."""
    (tmp_path / "a").write_bytes(compound("EncryptedPackage"))
    with pytest.raises(AssetError, match="encrypted_document"):
        check_declared(detect(sample_of(tmp_path / "a")), None, "a.docx")
    (tmp_path / "a").write_bytes(compound("WordDocument"))
    with pytest.raises(AssetError, match="type_mismatch"):
        check_declared(detect(sample_of(tmp_path / "a")), None, "a.docx")
    manifest = b'<m xmlns:m="x"><m:file-entry><m:encryption-data/></m:file-entry></m>'
    parts = parts_of(made.odt(tmp_path / "good"))
    locked = made.zipped(tmp_path / "b", parts | {"META-INF/manifest.xml": manifest})
    assert code_of(locked, ODT) == "encrypted_document"
    protected = made.epub_parts() | {"META-INF/encryption.xml": '<e><EncryptionMethod Algorithm="urn:drm"/></e>'}
    assert code_of(made.zipped(tmp_path / "c", protected), EPUB) == "encrypted_document"
    fonts = '<e><EncryptionMethod Algorithm="http://www.idpf.org/2008/embedding"/></e>'
    obfuscated = made.epub_parts() | {"META-INF/encryption.xml": fonts}
    assert documents.quick(made.zipped(tmp_path / "d", obfuscated), EPUB, LIMITS).pages == 2


def test_macros_are_told_and_left_alone(tmp_path: Path, word: dict[str, bytes]) -> None:
    """A document with macros is read for its words; the macros are told."""
    found = documents.check(made.zipped(tmp_path / "a", word | {"word/vbaProject.bin": b"x"}), DOCX, LIMITS)
    assert found.macros and found.pages == 2


def test_text_with_control_characters(tmp_path: Path) -> None:
    """Bytes that no text has are not taken for text, and a mark that lies is damage."""
    (tmp_path / "a").write_bytes(b"words\0and more\n")
    assert code_of(tmp_path / "a", TEXT) == "unsupported_type"
    (tmp_path / "a").write_bytes(b"\xff\xfeodd")
    assert code_of(tmp_path / "a", TEXT) == "corrupt_document"


def test_external_targets_are_not_followed(tmp_path: Path, word: dict[str, bytes]) -> None:
    """A main part outside of the file is none."""
    rels = word["_rels/.rels"].replace(
        b'Target="word/document.xml"', b'Target="http://127.0.0.1/x" TargetMode="External"'
    )
    assert rels != word["_rels/.rels"]
    assert code_of(made.zipped(tmp_path / "a", word | {"_rels/.rels": rels}), DOCX) == "corrupt_document"


def test_huge_columns_do_not_make_huge_lines(tmp_path: Path) -> None:
    """A cell at the format's last column makes at most as many tabs as there are columns."""
    parts = parts_of(made.sheets(tmp_path / "good"))
    name = next(n for n in parts if n.endswith("sheet2.xml"))
    moved = parts[name].replace(b'r="A1"', b'r="ZZZ1"')
    assert moved != parts[name]
    found = documents.read(made.zipped(tmp_path / "a", parts | {name: moved}), XLSX, LIMITS)
    assert found.pages[1].text == "salaries"


def test_archive_of_another_sort(tmp_path: Path) -> None:
    """A zip of no document's parts is not taken for one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("notes.txt", "word/document.xml")
    (tmp_path / "a").write_bytes(buffer.getvalue())
    assert detect(sample_of(tmp_path / "a")).kind is None


def test_size_comes_before_reading(tmp_path: Path) -> None:
    """A document over the limit of its kind is refused for its size, although it could not be read either."""
    path = made.zipped(tmp_path / "a", {"mimetype": "application/epub+zip", "x": b"no book"})
    found = detect(sample_of(path))
    with pytest.raises(AssetError, match="too_large"):
        gate(path, found, "*.epub", "", Limits(document_bytes=100))
    with pytest.raises(AssetError, match="corrupt_document"):
        gate(path, found, "*.epub", "", Limits())
