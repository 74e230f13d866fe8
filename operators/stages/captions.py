"""Captions of a video's HLS: what models heard in it stands among the subtitles that players offer."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from operators.media.hls_playlists import Label, text_playlist, with_texts
from operators.media.hls_tracks import PREFIX
from operators.media.languages import bcp47
from operators.stages.ladders import PLAYLIST
from operators.stages.services import Services
from operators.stages.steps import File, Made, Step, once
from schemas.asset import Output, StepRun, Work

VERSION = "1"


async def run(services: Services, work: Work) -> list[StepRun]:
    """The master playlist once more, with the transcript's captions; no step where there is none of either."""
    master, captions, technical = work.output(PREFIX), work.output("captions"), work.technical
    if master is None or captions is None or technical is None:
        return []
    name, seconds = f"{PREFIX}-{captions.name}", technical.duration or 0.0

    async def compute(scratch: Path) -> Made:
        whole, part = scratch / f"{PREFIX}.m3u8", scratch / f"{name}.m3u8"
        known = (await services.store.read(work.tenant, master.sha256)).decode()
        whole.write_text(with_texts(known, [(name, _label(captions))]), "utf-8")
        part.write_text(text_playlist(f"{captions.name}.vtt", Fraction(seconds)), "utf-8")
        return Made([File(PREFIX, master.role, whole, PLAYLIST), File(name, "hls-playlist", part, PLAYLIST)])

    step = Step("enrich", "captions", VERSION, (master.sha256, captions.sha256), {"seconds": seconds})
    return [await once(services, work, step, compute)]


def _label(captions: Output) -> Label:
    language = bcp47(captions.properties.get("language"))
    return Label(f"{language} (automatic)".strip(), language)
