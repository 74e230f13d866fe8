"""Shots, the stills that are kept of them, and the poster: on clips whose cuts and best pictures are known."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_rendering import planned
from PIL import Image, ImageFilter

from operators.media.appeal import Candidate, score
from operators.media.shots import Shot, choose_stills, find_shots
from operators.media.video import ChunkResult, render_chunk
from operators.stages.pictures import moments_of
from schemas.asset import Output
from schemas.pipelines import PreviewParams

SIZE, FPS = (320, 180), 24
SAMPLES = Path(__file__).parents[1] / "samples"
# pictures of each scene; the key frames lie at 12s, so that the first two cuts fall on a chunk's border
SCENES = (24, 36, 30, 8, 46)


def scene(number: int) -> Image.Image:
    """A picture of coloured blobs unlike any other scene's, larger than the clip so that it can move."""
    random = np.random.default_rng(number)
    small = random.integers(30, 226, (7, 12, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((SIZE[0] + 96, SIZE[1] + 96), Image.Resampling.BICUBIC)


def moving(number: int, length: int) -> Iterator[np.ndarray]:
    """The scene, panned by two pixels a picture."""
    whole = np.asarray(scene(number))
    for step in range(length):
        yield whole[step : step + SIZE[1], 2 * step % 96 : 2 * step % 96 + SIZE[0]]


def write(path: Path, pictures: Iterator[np.ndarray]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "16"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *SIZE, "yuv420p", 12
        stream.codec_context.time_base = Fraction(1, FPS)
        for place, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            frame.pts, frame.time_base = place, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ChunkResult], list[Path]]:
    """The clip of all scenes, rendered in chunks: folder, results, strips."""
    folder = tmp_path_factory.mktemp("cut")
    path = write(folder / "c.mp4", (p for n, length in enumerate(SCENES) for p in moving(n, length)))
    plan = planned(path).only({"shots", "stills"})
    assert len(plan.chunks) > 3
    results = [render_chunk(path, folder, plan, *one) for one in plan.chunks]
    return folder, results, [folder / result.kept.strip for result in results]


def shots_of(strips: list[Path], ticks: float, end: float) -> tuple[Shot, ...]:
    return find_shots(strips, float(FPS), ticks, 0.0, end)


def test_cuts_are_found_where_they_are(cut: tuple[Path, list[ChunkResult], list[Path]]) -> None:
    """Each cut is found to the picture, on a chunk's border and within; a pan is none; a flash of 8 pictures is kept
    with the scene before."""
    folder, _, strips = cut
    with av.open(str(folder / "c.mp4")) as container:
        ticks = float(container.streams.video[0].time_base)
    shots = shots_of(strips, ticks, sum(SCENES) / FPS)
    cuts = [0, *np.cumsum(SCENES)[:3].tolist()]
    assert [round(shot.start * FPS) for shot in shots][:4] == cuts
    assert shots[-1].end == pytest.approx(sum(SCENES) / FPS, abs=0.001)
    assert all(a.end == b.start for a, b in itertools.pairwise(shots))


def test_each_shot_keeps_its_best_picture(cut: tuple[Path, list[ChunkResult], list[Path]]) -> None:
    """One still of each shot at least, from within it, and its stretch is the shot's or a part of it."""
    _, results, _ = cut
    candidates = [c for result in results for c in result.kept.candidates]
    shots = [Shot(0.0, 1.0), Shot(1.0, 2.5), Shot(2.5, 6.0)]
    stills = choose_stills(shots, candidates, every=2.0, most=300)
    assert [(s.start, s.end) for s in stills] == [(0.0, 1.0), (1.0, 2.5), (2.5, 4.25), (4.25, 6.0)]
    for still in stills:
        within = [c for c in candidates if still.start <= c.time < still.end]
        assert still.ms == round(max(within, key=lambda c: c.score).time * 1000)
    assert len(choose_stills(shots, candidates, every=0.5, most=3)) == 3


def frame(picture: Image.Image) -> av.VideoFrame:
    return av.VideoFrame.from_image(picture.convert("RGB").resize((640, 360))).reformat(format="yuv420p")


@pytest.mark.parametrize("name", ["rocket.jpg", "coffee.png", "chelsea.png"])
def test_a_good_picture_beats_its_bad_versions(name: str) -> None:
    """Blurred, dark, faded to black or white, and grey versions of a photo score less; black shows nothing."""
    photo = Image.open(SAMPLES / name).convert("RGB")
    black, white = Image.new("RGB", photo.size), Image.new("RGB", photo.size, (255, 255, 255))
    worse = {
        "blurred": photo.filter(ImageFilter.GaussianBlur(6)),
        "dark": Image.blend(photo, black, 0.8),
        "faded out": Image.blend(photo, black, 0.5),
        "faded to white": Image.blend(photo, white, 0.6),
        "grey": photo.convert("L"),
    }
    best = score(frame(photo), 0.0)
    assert best.shows
    for kind, picture in worse.items():
        assert score(frame(picture), 0.0).score < best.score, kind
    assert not score(frame(black), 0.0).shows


def test_the_poster_is_the_best_of_all(tmp_path: Path) -> None:
    """A clip that begins black and fades in, and ends blurred, gets a poster from its sharp middle."""
    photo = scene(3).crop((0, 0, *SIZE)).convert("RGB")
    noise = np.random.default_rng(1).integers(-40, 40, (SIZE[1], SIZE[0], 3))
    sharp = Image.fromarray((np.asarray(photo).astype(int) + noise).clip(0, 255).astype(np.uint8))
    fade = [np.asarray(Image.blend(Image.new("RGB", SIZE), sharp, n / 24)) for n in range(24)]
    blurred = np.asarray(sharp.filter(ImageFilter.GaussianBlur(5)))
    path = write(tmp_path / "p.mp4", iter([np.zeros((180, 320, 3), np.uint8)] * 24 + fade + [np.asarray(sharp)] * 24
                                          + [blurred] * 48))  # fmt: skip
    plan = planned(path, preview=PreviewParams(candidate_every_s=0.25)).only({"poster"})
    kept = [render_chunk(path, tmp_path, plan, *one).kept for one in plan.chunks]
    file, chosen = max((k.poster for k in kept if k.poster), key=lambda found: found[1].score)
    assert 2.0 <= chosen.time < 3.0 and Image.open(tmp_path / file).size == SIZE


def test_candidates_are_the_same_whatever_else_is_made(tmp_path: Path) -> None:
    """A candidate's score does not depend on what else a chunk is rendered to."""
    path = write(tmp_path / "c.mp4", moving(1, 36))
    plan = planned(path)
    alone = [
        c for one in plan.chunks for c in render_chunk(path, tmp_path, plan.only({"stills"}), *one).kept.candidates
    ]
    together = [c for one in plan.chunks for c in render_chunk(path, tmp_path, plan, *one).kept.candidates]
    assert alone == together and isinstance(alone[0], Candidate)


def test_a_still_that_shows_nothing_moves_no_other_one() -> None:
    """Models leave out black stills: the moments of the others are still their own."""
    about = {"spans": [[0, 0.0, 1.0], [1500, 1.0, 2.0]], "count": 2}
    stills = Output(
        sha256="0" * 64, bytes=1, media_type="application/zip", name="stills", role="stills", properties=about
    )
    assert [(moment.start_s, moment.end_s) for moment in moments_of(stills, [1500])] == [(1.0, 2.0)]
