"""What a file is, by its content: magika's model, and signatures where it is unsure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from schemas.errors import AssetError

PDF = "application/pdf"
_OOXML = "application/vnd.openxmlformats-officedocument"
DOCX, PPTX = f"{_OOXML}.wordprocessingml.document", f"{_OOXML}.presentationml.presentation"
XLSX, ODT = f"{_OOXML}.spreadsheetml.sheet", "application/vnd.oasis.opendocument.text"
EPUB, MARKDOWN, TEXT = "application/epub+zip", "text/markdown", "text/plain"
LOTTIE, DOTLOTTIE = "video/lottie+json", "application/zip+dotlottie"
CUBE, TEMPLATE = "application/x-cube-lut", "application/x-asset-template+zip"
ENCRYPTED_OFFICE = "application/encrypted"
_WITH_MACROS = "application/vnd.ms-"

# family: (kind, media types, extensions); types of one family share a container, so they never contradict
_FAMILIES: dict[str, tuple[str | None, str, str]] = {
    "iso": (
        "video",
        "video/mp4 video/quicktime video/x-m4v video/3gpp audio/mp4 audio/x-m4a audio/m4a application/mp4",
        "mp4 mov m4v qt 3gp 3g2 m4a m4b",
    ),
    "matroska": (
        "video",
        "video/x-matroska video/matroska video/webm audio/webm audio/x-matroska",
        "mkv mka webm",
    ),
    "avi": ("video", "video/x-msvideo video/avi video/msvideo", "avi"),
    "mpegts": ("video", "video/mp2t", "ts mts m2ts"),
    "mpegps": ("video", "video/mpeg", "mpg mpeg vob"),
    "flv": ("video", "video/x-flv", "flv"),
    "asf": ("video", "video/x-ms-asf video/x-ms-wmv audio/x-ms-wma", "wmv wma asf"),
    "mxf": ("video", "application/mxf", "mxf"),
    "dv": ("video", "video/x-dv video/dv", "dv dif"),
    "ogg": ("audio", "audio/ogg video/ogg application/ogg audio/opus", "ogg oga ogv opus"),
    "mp3": ("audio", "audio/mpeg audio/mp3", "mp3"),
    "wav": ("audio", "audio/wav audio/x-wav audio/wave audio/vnd.wave audio/x-w64", "wav w64"),
    "flac": ("audio", "audio/flac audio/x-flac", "flac"),
    "aac": ("audio", "audio/aac audio/x-aac audio/aacp", "aac"),
    "aiff": ("audio", "audio/aiff audio/x-aiff", "aif aiff aifc"),
    "caf": ("audio", "audio/x-caf", "caf"),
    "amr": ("audio", "audio/amr audio/amr-wb", "amr awb"),
    "ac3": ("audio", "audio/ac3 audio/eac3", "ac3 eac3 ec3"),
    "dts": ("audio", "audio/vnd.dts", "dts"),
    "ape": ("audio", "audio/x-ape audio/ape", "ape"),
    "wavpack": ("audio", "audio/x-wavpack audio/wavpack", "wv"),
    "tta": ("audio", "audio/x-tta audio/tta", "tta"),
    "au": ("audio", "audio/basic", "au snd"),
    "jpeg": ("image", "image/jpeg image/jpg image/pjpeg", "jpg jpeg jpe jfif"),
    "png": ("image", "image/png image/apng image/vnd.mozilla.apng", "png apng"),
    "webp": ("image", "image/webp", "webp"),
    "gif": ("image", "image/gif", "gif"),
    "tiff": ("image", "image/tiff", "tif tiff"),
    "bmp": ("image", "image/bmp image/x-bmp image/x-ms-bmp", "bmp dib"),
    "pdf": ("document", f"{PDF} application/x-pdf", "pdf"),
    "docx": ("document", f"{DOCX} {_WITH_MACROS}word.document.macroenabled.12", "docx docm dotx"),
    "pptx": ("document", f"{PPTX} {_WITH_MACROS}powerpoint.presentation.macroenabled.12", "pptx pptm ppsx potx"),
    "xlsx": ("document", f"{XLSX} {_WITH_MACROS}excel.sheet.macroenabled.12", "xlsx xlsm xltx"),
    "odt": ("document", ODT, "odt ott"),
    "epub": ("document", EPUB, "epub"),
    "text": ("document", f"{TEXT} {MARKDOWN} text/x-markdown", "txt text md markdown"),
    "lottie": ("template", LOTTIE, ""),
    "dotlottie": ("template", DOTLOTTIE, "lottie"),
    "cube": ("template", CUBE, "cube"),
    "template": ("template", TEMPLATE, ""),
    "heif": (
        "image",
        "image/heic image/heif image/avif image/heic-sequence image/heif-sequence",
        "heic heif hif avif avifs",
    ),
    "jxl": ("image", "image/jxl", "jxl"),
    "svg": ("image", "image/svg+xml", "svg"),
    "raw": (
        "image",
        "image/x-adobe-dng image/x-canon-cr2 image/x-canon-cr3 image/x-fuji-raf image/x-nikon-nef image/x-olympus-orf "
        "image/x-panasonic-rw2 image/x-pentax-pef image/x-raw image/x-sony-arw image/dng",
        "dng cr2 cr3 raf nef orf rw2 pef arw",
    ),
    "other": (
        None,
        "application/zip application/json application/xml application/msword",
        "csv tsv json xml html htm zip gz tar 7z rar doc xls ppt exe py js",
    ),
}
_BY_TYPE = {t: name for name, (_, types, _) in _FAMILIES.items() for t in types.split()}
_BY_EXTENSION = {e: name for name, (_, _, extensions) in _FAMILIES.items() for e in extensions.split()}
_AUDIO_TWIN = {"iso": "audio/mp4", "matroska": "audio/webm", "asf": "audio/x-ms-wma", "ogg": "audio/ogg"}
# the general names that a format goes by as well
_ALSO = {
    "lottie": {"json", "application/json"}, "dotlottie": {"zip", "application/zip"},
    "cube": {"text/plain"}, "template": {"zip", "application/zip", "application/x-zip-compressed"},
}  # fmt: skip
# what lies beside media and is about them; taken when named singly, left alone in a folder
_NOT_FROM_FOLDERS = frozenset({"other", "text"})
# what may lie beside a file of a kind and say something of it
_SIDECARS = {"video": {"srt", "vtt", "ass", "ssa"}, "image": {"xmp"}}
_GENERIC = {"", "application/octet-stream", "binary/octet-stream", "application/binary"}


@dataclass(frozen=True)
class Detected:
    """A file's media type, kind, and the model's score (0..1) and label.

    `kind` is video, audio, image, document or template; None where the type is not supported. `is_text` says that its
    bytes are text of whatever sort.
    """

    media_type: str
    kind: str | None
    score: float
    label: str
    is_text: bool = False

    @property
    def family(self) -> str | None:
        """The container format; types of one family do not contradict each other."""
        return _BY_TYPE.get(self.media_type)


def kind_of(media_type: str) -> str | None:
    """video, audio, image, document or template; None where the type is not supported."""
    family = _BY_TYPE.get(media_type, "other")
    top = media_type.partition("/")[0]
    return top if family in _AUDIO_TWIN else _FAMILIES[family][0]


def settle(detected: Detected, has_video: bool) -> Detected:
    """The same with the kind that the streams show; a cover picture is no video stream."""
    if detected.family not in _AUDIO_TWIN or has_video == (detected.kind == "video"):
        return detected
    if has_video:
        return replace(detected, kind="video")
    return replace(detected, kind="audio", media_type=_AUDIO_TWIN[detected.family])


def as_named(detected: Detected, declared: str | None, file_name: str) -> Detected:
    """Text is taken for the sort of text that its name or declared type says: words alone do not tell Markdown."""
    if detected.kind == "template" and PurePosixPath(file_name).suffix.lower() not in (".txt", ".md"):
        return detected
    suffix, declared = PurePosixPath(file_name).suffix.lower(), (declared or "").partition(";")[0].strip().lower()
    if not detected.is_text or "text" not in (_BY_EXTENSION.get(suffix[1:]), _BY_TYPE.get(declared)):
        return detected
    markdown = suffix in (".md", ".markdown") or (suffix not in (".txt", ".text") and "markdown" in declared)
    return replace(detected, media_type=MARKDOWN if markdown else TEXT, kind="document")


def _contradicts(detected: Detected, declared: str) -> bool:
    """A type that the table does not know contradicts only where its first half names another kind."""
    declared = declared.partition(";")[0].strip().lower()
    if declared in _GENERIC or declared in _ALSO.get(detected.family or "", ()):
        return False
    if declared in _BY_TYPE:
        return _BY_TYPE[declared] != (detected.family or "other")
    fitting = {detected.kind, detected.media_type.partition("/")[0]}
    fitting |= {"video", "audio"} if detected.family in _AUDIO_TWIN else set()
    return declared.partition("/")[0] in {"video", "audio", "image", "text", "font"} - fitting


def _extension_contradicts(detected: Detected, file_name: str) -> bool:
    suffix = PurePosixPath(file_name).suffix[1:].lower()
    family = _BY_EXTENSION.get(suffix)
    return (
        suffix not in _ALSO.get(detected.family or "", ())
        and family is not None
        and family != (detected.family or "other")
    )


def check_declared(detected: Detected, declared: str | None, file_name: str) -> None:
    """Compares the content with what was declared and with the name's extension (an unknown one is fine).

    Raises empty_file, encrypted_document, type_mismatch, unsupported_type.
    """
    if detected.label == "empty":
        raise AssetError("empty_file")
    if detected.media_type == ENCRYPTED_OFFICE:
        raise AssetError("encrypted_document", "an Office document in an encrypted container")
    if declared and _contradicts(detected, declared):
        raise AssetError("type_mismatch", f"declared {declared[:80]}, found {detected.media_type}")
    if _extension_contradicts(detected, file_name):
        suffix = PurePosixPath(file_name).suffix[:20]
        raise AssetError("type_mismatch", f"named *{suffix}, found {detected.media_type}")
    if detected.kind is None:
        raise AssetError("unsupported_type", f"found {detected.media_type}")


def could_be_video(file_name: str) -> bool:
    """Whether a file of this name may hold a video: its extension is a video container's, or says nothing."""
    family = _BY_EXTENSION.get(PurePosixPath(file_name).suffix[1:].lower())
    return family is None or _FAMILIES[family][0] == "video" or family == "ogg"


def is_media_name(file_name: str) -> bool:
    """Whether a file of this name is taken from a folder: its extension is that of a supported type, text apart."""
    if file_name.lower().endswith(".template.zip"):
        return True
    return _BY_EXTENSION.get(PurePosixPath(file_name).suffix[1:].lower(), "other") not in _NOT_FROM_FOLDERS


def is_sidecar_of(sidecar: str, file_name: str) -> bool:
    """Whether a file in the same folder belongs to a media file by its name.

    `clip.srt`, `clip.en.srt` and `clip.mp4.en.srt` belong to the video `clip.mp4`, `a.xmp` and `a.jpg.xmp` to `a.jpg`.
    """
    media, beside = PurePosixPath(file_name), PurePosixPath(sidecar)
    kind = _FAMILIES[_BY_EXTENSION.get(media.suffix[1:].lower(), "other")][0] or ""
    if beside.suffix[1:].lower() not in _SIDECARS.get(kind, ()):
        return False
    if f"{beside.stem}.".startswith(f"{file_name}."):
        return True
    others = (part for part in beside.stem.removeprefix(media.stem).split(".") if part in _BY_EXTENSION)
    return f"{beside.stem}.".startswith(f"{media.stem}.") and not any(others)
