"""Every way an asset can end badly: one code each, the state it leads to, and what a person can do about it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """State of an asset; a step can also be skipped."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"


# an asset that ended so has a dead letter
BAD = frozenset({State.FAILED, State.REJECTED})


class Code(NamedTuple):
    """What a code means: the asset's state, whether a retry can help, and a sentence to act on."""

    state: State
    transient: bool
    sentence: str


_R, _F = State.REJECTED, State.FAILED

CODES: dict[str, Code] = {
    # ingest: the submission itself is refused
    "invalid_event": Code(_R, False, "The event does not match its schema; correct it and send it again."),
    "unreadable_message": Code(
        _F, False, "A message between two flows cannot be read; run the same version on both sides, then replay."
    ),
    "unknown_pipeline": Code(_R, False, "No pipeline of this name is configured; `describe` lists them."),
    "idempotency_conflict": Code(
        _R, False, "This idempotency key was used for another payload; submit under a new key."
    ),
    "source_missing": Code(_R, False, "The source does not exist or cannot be read; check the path or URL."),
    "source_changed": Code(_R, False, "The file changed while it was read; submit it again once it is complete."),
    "path_outside_input": Code(
        _R, False, "The path leads out of the input folder by a link; copy the file into the folder."
    ),
    "url_scheme": Code(_R, False, "Only http and https URLs are fetched; upload the file instead."),
    "url_forbidden_address": Code(
        _R, False, "The URL resolves to a private, loopback, link-local or metadata address; use a public one."
    ),
    "url_status": Code(_R, False, "The server refused the URL; check that it is public and still there."),
    "url_redirects": Code(_R, False, "The URL redirects too often; submit the final address."),
    "url_unreachable": Code(_F, True, "The server could not be reached; replay when it answers again."),
    "url_timeout": Code(_F, True, "The server sent too slowly; replay, or upload the file instead."),
    "too_large": Code(_R, False, "The file is larger than the limit for its kind; reduce it or raise the limit."),
    "empty_file": Code(_R, False, "The file has no bytes; submit it again once it is complete."),
    # validate: the bytes are not what they should be
    "unsupported_type": Code(_F, False, "This content type is not supported; convert the file to a supported one."),
    "type_mismatch": Code(
        _F, False, "The content is not what its name or declared type says; rename it or declare its true type."
    ),
    "unreadable_header": Code(_F, False, "The header cannot be read; export the file again."),
    "truncated": Code(_F, False, "The file ends before its content does; upload it again in full."),
    "no_media_stream": Code(_F, False, "The file has no audio or video stream to work on; check the export."),
    "no_key_frame": Code(
        _F, False, "The video does not start with a key frame, so its first pictures cannot be shown; export it again."
    ),
    "too_many_pixels": Code(_F, False, "The picture has more pixels than the limit; reduce its dimensions."),
    "too_long": Code(_F, False, "The media lasts longer than the limit; split it or raise the limit."),
    "too_many_pages": Code(_F, False, "The document has more pages than the limit; split it or raise the limit."),
    "unpacks_too_large": Code(
        _F, False, "The file unpacks to far more than it is; save it again, or split what is in it."
    ),
    "corrupt_document": Code(_F, False, "The document is damaged; repair it or export it again."),
    "encrypted_document": Code(_F, False, "The document is protected by a password; remove it and submit again."),
    "corrupt_image": Code(_F, False, "The picture is damaged; export it again."),
    "library_missing": Code(
        _F, False, "The library for this format is not installed; install the extra that is named, then replay."
    ),
    "svg_script": Code(_F, False, "The SVG has a script or an event handler; export it as a static picture."),
    "svg_external": Code(_F, False, "The SVG refers to a file elsewhere; embed it, then export the SVG again."),
    "svg_entities": Code(_F, False, "The SVG declares XML entities; export it as plain SVG."),
    "corrupt_media": Code(_F, False, "Part of the audio or video cannot be decoded; export it again."),
    "corrupt_template": Code(_F, False, "The template or look-up table does not follow its format; export it again."),
    "unsafe_template": Code(
        _F, False, "The template runs scripts or loads files from elsewhere; bake them in and export it again."
    ),
    "office_failed": Code(
        _F, False, "LibreOffice could not make a PDF of the document; open it there, save it again, then submit it."
    ),
    # work that broke
    "decoder_crashed": Code(_F, True, "The decoder crashed on this file; export it again in another format."),
    "decoder_timeout": Code(_F, False, "The decoder did not end in time; shorten the file or export it again."),
    "decoder_memory": Code(_F, False, "The decoder needed more memory than allowed; reduce the file's dimensions."),
    "scratch_full": Code(_F, True, "The work needed more disk than allowed; free space, then replay."),
    "deadline_exceeded": Code(_F, True, "The stage did not end before its deadline; replay when load is lower."),
    "store_unavailable": Code(_F, True, "The object store did not answer; replay when it is back."),
    "index_unavailable": Code(_F, True, "The vector index did not answer; replay when it is back."),
    "channel_unavailable": Code(_F, True, "The publication channel did not answer; replay when it is back."),
    "unknown_channel": Code(_F, False, "The pipeline names a channel that is not configured; `describe` lists them."),
    "object_missing": Code(_F, False, "An object that a result names is gone; run `verify`, then submit again."),
    "object_damaged": Code(
        _F, False, "An object's bytes are not those that its digest names; run `verify`, then submit again."
    ),
    "deleted": Code(_R, False, "The asset was deleted; submit it under a new idempotency key."),
    "internal": Code(_F, True, "An unexpected error; the dead letter has its traceback. Replay after a fix."),
    # notes on steps that completed or were skipped; never an asset's end
    "silence": Code(State.COMPLETED, False, "The audio is silent or under 400 ms; its loudness was left as it is."),
    "peak_bound": Code(
        State.COMPLETED, False, "The loudness target cannot be met under the peak limit; the peak limit held."
    ),
    "not_aligned": Code(
        State.COMPLETED,
        False,
        "The source's own pictures are not in the HLS ladder, as its key frames lie too far apart or are not closed.",
    ),
    "corrupt_sidecar": Code(
        State.COMPLETED, False, "A file beside the asset is damaged; it was left out. Export it again."
    ),
    "remuxed": Code(State.COMPLETED, False, "The source was web-friendly already; its packets were kept."),
    "no_model": Code(State.SKIPPED, False, "No model is configured for this task; add a route to enable it."),
    "no_office": Code(
        State.SKIPPED, False, "Pages of this format are drawn by LibreOffice, which is not installed here."
    ),
    "no_consent": Code(State.SKIPPED, False, "The owner did not consent to this task."),
    "not_applicable": Code(State.SKIPPED, False, "This step does not apply to the asset's content."),
    "unreadable_cover": Code(State.SKIPPED, False, "The cover art cannot be read; put another picture into the file."),
    "bitmap_subtitles": Code(
        State.SKIPPED, False, "The subtitles are pictures, not text; add a text track, or a .srt file beside the video."
    ),
    "subtitles_unreadable": Code(
        State.SKIPPED, False, "The subtitles cannot be read; save them again as .srt or .vtt in UTF-8."
    ),
    "too_short": Code(State.SKIPPED, False, "There is too little text to tell its language."),
}


# services of our own: work waits for them, since nothing is wrong with the asset
OUTAGES = frozenset({"store_unavailable", "index_unavailable", "channel_unavailable"})


class AssetError(Exception):
    """An error with a code of `CODES`; `detail` says what was seen, for people. Survives pickling between processes."""

    def __init__(self, code: str, detail: str = "") -> None:
        if code not in CODES:
            raise ValueError(f"unknown error code {code!r}")
        super().__init__(code, detail)
        self.code, self.detail = code, detail
        self.step = ""  # the one that it happened in, where it is known

    @property
    def transient(self) -> bool:
        """Whether the same work may succeed when tried again."""
        return CODES[self.code].transient

    @property
    def outage(self) -> bool:
        """Whether a service of our own is away."""
        return self.code in OUTAGES

    @property
    def state(self) -> State:
        """The state in which the asset ends when this error is final."""
        return CODES[self.code].state

    @property
    def sentence(self) -> str:
        """What a person can do, with what was seen."""
        return f"{CODES[self.code].sentence} ({self.detail})" if self.detail else CODES[self.code].sentence

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence}"


def as_asset_error(error: BaseException) -> AssetError:
    """The error itself where it has a code, else `internal` with its type and text."""
    if isinstance(error, AssetError):
        return error
    return AssetError("internal", f"{type(error).__name__}: {error}"[:500])
