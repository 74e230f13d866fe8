"""Renders clips as the stages do: probe, plan, chunks, join."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from operators.media.join import join
from operators.media.plan import RenderPlan, plan_video
from operators.media.probe import quick_probe
from operators.media.video import ChunkResult, render_chunk
from schemas.pipelines import Limits, PreviewParams, VideoEncode, VideoParams

FAST = VideoParams(
    mezzanine=VideoEncode(height=180, crf=24, gop_s=2.0, preset="ultrafast"),
    preview=VideoEncode(height=90, crf=26, gop_s=1.0, preset="ultrafast"),
    chunk_s=0.9,
)
UNEVEN = [0, 1, 2, 5, 6, 9, 10, 11, 12, 20, *range(21, 60), *range(60, 140, 3), *range(141, 180, 2)]


def planned(path: Path, params: VideoParams = FAST, preview: PreviewParams | None = None) -> RenderPlan:
    technical = quick_probe(path, "video", Limits())
    return plan_video(path, technical, params, preview or PreviewParams())


def rendered(
    path: Path, folder: Path, plan: RenderPlan, ranges: Any = None, audio: Path | None = None
) -> tuple[Path, list[ChunkResult]]:
    """Renders ranges (all chunks) into `folder` and joins the mezzanine; returns it with the results."""
    folder.mkdir(exist_ok=True)
    results = [render_chunk(path, folder, plan, *one) for one in ranges or plan.chunks]
    parts = [folder / dict(one.encodes)["mezzanine"] for one in results]
    out = folder / "joined.mp4"
    join(parts, audio, out, plan.origin)
    return out, results
