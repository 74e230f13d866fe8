"""What is measured on: a film-like clip and a photo, synthesised from the samples, the same each time."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "bench"
FILM, PHOTO = ROOT / "samples" / "big-buck-bunny.mp4", ROOT / "samples" / "coffee.png"
FPS, FILM_S, VERSION = 24, 12, 1


def ffmpeg_path() -> str:
    """The rival: a static ffmpeg of version 8 or newer, with the x264 core of PyAV's wheel."""
    return imageio_ffmpeg.get_ffmpeg_exe()


def ffmpeg(*arguments: object) -> None:
    """Runs the rival, quietly."""
    subprocess.run([ffmpeg_path(), "-v", "error", "-y", *map(str, arguments)], check=True)


def clip(seconds: int) -> Path:
    """1080p at 24/s, H.264 with 5.1 AC-3 (so that nothing can be copied): a film scaled up, with a slow pan and grain.

    The sound's dynamics are evened so far that one gain and a limiter bring it to the target: a rival that measures
    once then delivers what was asked for.
    """
    path = CACHE / f"clip-{VERSION}-{seconds}s.mp4"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part, whole = path.with_suffix(".part.mp4"), path.with_suffix(".whole.mp4")
        _film(part, min(seconds, FILM_S))
        _repeated(part, whole, seconds)
        part.unlink()
        whole.rename(path)
    return path


def web_clip(seconds: int) -> Path:
    """The same pictures with AAC at the target loudness: nothing in it has to be encoded for the web."""
    path = CACHE / f"web-{VERSION}-{seconds}s.mp4"
    if not path.exists():
        part = path.with_suffix(".part.mp4")
        levelled = "aformat=channel_layouts=stereo,loudnorm=I=-14:TP=-2.5:LRA=7,aresample=48000"
        aac = ("-c:v", "copy", "-af", levelled, "-c:a", "aac", "-b:a", "160k", "-movflags", "+faststart")
        ffmpeg("-i", clip(seconds), *aac, part)
        part.rename(path)
    return path


def small_clip(seconds: int) -> Path:
    """The film's own pictures in 360 lines at 24/s with 5.1 AC-3, their packets repeated."""
    path = CACHE / f"small-{VERSION}-{seconds}s.mp4"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        once, part = path.with_suffix(".once.mp4"), path.with_suffix(".part.mp4")
        pictures = ("-vf", "scale=-2:360", "-r", FPS, "-c:v", "libx264", "-preset", "veryfast", "-g", 2 * FPS)
        ffmpeg("-i", FILM, "-t", FILM_S, *pictures, "-c:a", "ac3", "-ac", 6, "-ar", 48000, once)
        ffmpeg("-stream_loop", -1, "-i", once, "-t", seconds, "-c", "copy", part)
        once.unlink()
        part.rename(path)
    return path


def _film(path: Path, seconds: int) -> None:
    pan = f"x='96+96*sin(2*PI*t/{FILM_S})':y='54+54*cos(2*PI*t/{FILM_S})'"
    picture = f"scale=2112:1188:flags=bicubic,crop=1920:1080:{pan},noise=c0s=3:c0f=t:all_seed=7,setsar=1,format=yuv420p"
    encoder = ("-c:v", "libx264", "-preset", "veryfast", "-crf", 19, "-g", 2 * FPS, "-bf", 2)
    ffmpeg("-i", FILM, "-vf", picture, "-frames:v", FPS * seconds, *encoder, "-an", path)


def _repeated(part: Path, path: Path, seconds: int) -> None:
    inputs = [word for source in (part, FILM) for word in ("-stream_loop", -1, "-i", source)]
    evened = "dynaudnorm=f=300:g=9:p=0.4,alimiter=limit=0.35:attack=5:release=80:level=0"
    sound = ("-af", evened, "-c:a", "ac3", "-b:a", "384k", "-ac", 6, "-ar", 48000)
    ends = ("-frames:v", FPS * seconds, "-t", seconds)
    ffmpeg(*inputs, "-map", "0:v", "-map", "1:a", "-c:v", "copy", *sound, *ends, path)


def sound(seconds: int) -> Path:
    """Stereo AAC at 48 kHz: the film's own sound, again and again."""
    path = CACHE / f"sound-{VERSION}-{seconds}s.m4a"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part, coding = path.with_suffix(".part.m4a"), ("-ac", 2, "-ar", 48000, "-c:a", "aac", "-b:a", "160k")
        ffmpeg("-stream_loop", -1, "-i", FILM, "-map", "0:a", "-t", seconds, *coding, part)
        part.rename(path)
    return path


def photo(width: int, height: int) -> Path:
    """A JPEG with the detail of a photo at all scales: a sample scaled up, with noise in octaves."""
    path = CACHE / f"photo-{VERSION}-{width}x{height}.jpg"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with Image.open(PHOTO) as source:
            large = source.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        pixels = np.asarray(large, np.float32) + _detail(width, height)[..., None]
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return path


def _detail(width: int, height: int) -> np.ndarray:
    """(height, width) noise around 0, a few levels strong at every scale from 64 pixels to 1."""
    random, total = np.random.default_rng(7), np.zeros((height, width), np.float32)
    for step in (64, 32, 16, 8, 4, 2, 1):
        coarse = random.normal(0, 4, (-(-height // step), -(-width // step))).astype(np.float32)
        total += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return total
