"""Speech: where it is, what is said, and captions of it."""

from __future__ import annotations

import wave
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from models_fixtures import ask, route, speech

from operators.models import registry
from operators.models.captions import webvtt
from operators.models.results import Segment, Speech, Transcript, Word
from operators.models.whisper import Sound, clips
from operators.stages.model_tasks import on_sound, on_speech
from operators.stages.sounds import joined, later, parts, pieces
from schemas.routing import Task

ASR = pytest.mark.skipif(not registry.available(route(Task.TRANSCRIPT)), reason="needs the asr extra")
RATE = 16_000


@cache
def said() -> Transcript:
    """The transcript of the sample speech."""
    return ask(Task.TRANSCRIPT, Sound(speech(), ask(Task.VOICE_ACTIVITY, speech())))


def words(*texts: str, each_s: float = 0.5) -> tuple[Word, ...]:
    """Words that follow each other without a pause."""
    return tuple(Word(i * each_s, (i + 1) * each_s, text, 1.0) for i, text in enumerate(texts))


def test_speech_is_found_between_its_pauses() -> None:
    """With two seconds of silence on both sides the speech lies in the middle, in its four stretches."""
    silence = np.zeros(2 * RATE, np.float32)
    found = ask(Task.VOICE_ACTIVITY, np.concatenate([silence, speech(), silence]))
    assert len(found) == 4
    assert 2.0 < found[0].start_s < 2.6 and 12.3 < found[-1].end_s < 13.3
    assert all(before.end_s < after.start_s for before, after in pairwise(found))


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_silence_noise_and_a_tone_are_no_speech(level: float) -> None:
    """Silence, white noise and a 440 Hz tone have no speech in them; nor has an empty sound."""
    time = np.arange(2 * RATE) / RATE
    noise = np.random.default_rng(1).normal(0, level, len(time))
    for samples in (noise, level * np.sin(2 * np.pi * 440 * time), np.empty(0)):
        assert ask(Task.VOICE_ACTIVITY, samples.astype(np.float32)) == []


def test_the_same_sound_has_the_same_speech_again() -> None:
    """The detector's memory of an earlier sound does not leak into the next."""
    first = ask(Task.VOICE_ACTIVITY, speech()[: 3 * RATE])
    ask(Task.VOICE_ACTIVITY, speech()[8 * RATE :])
    assert ask(Task.VOICE_ACTIVITY, speech()[: 3 * RATE]) == first


def written(path: Path, *sounds: np.ndarray) -> np.ndarray:
    """Sounds after each other as a 16-bit WAV; its samples."""
    samples = np.rint(np.concatenate(sounds) * 32767).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return samples


def test_parts_of_a_long_sound_begin_and_end_in_pauses(tmp_path: Path) -> None:
    """Every stretch is in one part, at its place, with silence around as far as there is some; what is long is cut."""
    samples = written(tmp_path / "s.wav", np.linspace(-1, 1, 30 * RATE, dtype=np.float32))
    given = [Speech(1, 3), Speech(3.2, 5), Speech(9, 10), Speech(12, 29.5)]
    found = list(parts(tmp_path / "s.wav", given, seconds=8))
    assert [start for start, *_ in found] == [0.5, 8.5, 11.5, 20.0, 28.0]
    assert [len(one) / RATE for _, one, _ in found] == [5.0, 2.0, 8.5, 8.0, 2.0]
    for start, one, _ in found:
        assert (one == samples[round(start * RATE) :][: len(one)]).all()
    placed = [(start + one.start_s, start + one.end_s) for start, _, part in found for one in part]
    assert placed == [(1, 3), (3.2, 5), (9, 10), (12, 20), (20, 28), (28, 29.5)]


@ASR
def test_parts_of_a_long_sound_say_what_the_whole_says(tmp_path: Path) -> None:
    """Written down in parts, a speech that is heard twice has its words twice, at their times."""
    silence = np.zeros(2 * RATE, np.float32)
    samples = written(tmp_path / "s.wav", speech(), silence, speech())
    heard = on_sound(route(Task.VOICE_ACTIVITY), samples)
    found = [
        later(on_speech(route(Task.TRANSCRIPT), one, part), start)
        for start, one, part in parts(tmp_path / "s.wav", heard, seconds=12)
    ]
    assert [one.text.replace(",", "") for one in found] == [said().text.replace(",", "")] * 2
    first, second = ([word for segment in one.segments for word in segment.words] for one in found)
    apart = len(speech()) / RATE + 2
    assert max(abs(b.start_s - a.start_s - apart) for a, b in zip(first, second, strict=True)) < 0.3


def test_pieces_of_a_long_sound_have_the_speech_of_the_whole(tmp_path: Path) -> None:
    """Heard in pieces of 5 s, some of which begin in a word, speech is where the whole has it but near borders."""
    samples = written(tmp_path / "speech.wav", speech(), speech())
    heard: list[Speech] = []
    for start, piece in pieces(tmp_path / "speech.wav", seconds=5):
        found = on_sound(route(Task.VOICE_ACTIVITY), piece)
        heard = joined(heard, [Speech(start + one.start_s, start + one.end_s) for one in found])
    whole = on_sound(route(Task.VOICE_ACTIVITY), samples)
    assert all(before.end_s < after.start_s for before, after in pairwise(heard))
    at = np.arange(0, len(samples) / RATE, 0.01)
    spoken, expected = (np.any([(at >= a) & (at < b) for a, b in one], axis=0) for one in (heard, whole))
    assert (spoken == expected).mean() > 0.95
    assert joined([], [Speech(1, 2)]) == joined([Speech(1, 2)], []) == [Speech(1, 2)]
    assert joined([Speech(0, 2)], [Speech(2.05, 3), Speech(4, 5)]) == [Speech(0, 3), Speech(4, 5)]
    assert joined([Speech(0, 2)], [Speech(2.2, 3)]) == [Speech(0, 2), Speech(2.2, 3)]


@ASR
def test_the_speech_is_written_down() -> None:
    """The sample's words are there, with the language and a probability of each word."""
    assert "what you can do for your country" in said().text.lower()
    assert "my fellow americans" in said().text.lower()
    assert said().language == "en"
    assert all(0 < word.probability <= 1 for segment in said().segments for word in segment.words)


@ASR
def test_words_have_their_times() -> None:
    """Words follow each other within the sound, and the last "country" is spoken near its end."""
    spoken = [word for segment in said().segments for word in segment.words]
    assert all(word.start_s <= word.end_s for word in spoken)
    assert all(before.start_s <= after.start_s for before, after in pairwise(spoken))
    assert spoken[-1].text.lower().startswith("country") and 9.5 < spoken[-1].end_s <= 11.0


@ASR
def test_without_speech_nothing_is_invented() -> None:
    """Whisper makes words up on music; where nobody speaks it is not asked."""
    assert ask(Task.TRANSCRIPT, Sound(np.zeros(RATE, np.float32), [])).segments == ()


def test_short_pauses_stay_in_a_clip_and_long_ones_do_not() -> None:
    """Speech with less than three seconds between goes to Whisper in one piece, within the sound."""
    speeches = [Speech(0.1, 1.0), Speech(2.0, 3.0), Speech(9.0, 9.9)]
    assert clips(speeches, 10.0) == [0.0, 3.5, 8.8, 10.0]


def test_captions_are_webvtt_with_two_short_lines() -> None:
    """No cue has more than two lines of 42 characters or lasts over 7 s, none is lost, none overlaps."""
    text = "we choose to go to the moon in this decade and do the other things, not because they are easy"
    many = words(*text.split() * 3)
    blocks = webvtt([Segment(0, 60, "", 1.0, many)]).split("\n\n")
    assert blocks[0] == "WEBVTT"
    cues = [block.strip().split("\n") for block in blocks[1:]]
    assert all(len(lines) <= 3 and max(map(len, lines[1:])) <= 42 for lines in cues)
    assert " ".join(line for lines in cues for line in lines[1:]).split() == [word.text for word in many]
    times = [lines[0].split(" --> ") for lines in cues]
    assert all(before[1] <= after[0] for before, after in pairwise(times))
    assert all(float(end[-6:]) - float(start[-6:]) <= 7 for start, end in times if start[:5] == end[:5])


def test_captions_break_at_sentences_and_pauses_and_escape_markup() -> None:
    """A sentence's end and a pause begin a cue; &, < and > are written as WebVTT wants them."""
    spoken = (*words("Stop.", "A", "<b>", "&", "c"), Word(9, 9.5, "later", 1.0))
    assert webvtt([Segment(0, 10, "", 1.0, spoken)]) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:00.500\nStop.\n\n"
        "00:00:00.500 --> 00:00:02.500\nA &lt;b&gt; &amp; c\n\n"
        "00:00:09.000 --> 00:00:09.500\nlater\n"
    )


def test_captions_without_word_times_share_the_segments() -> None:
    """A segment without words is spread over its time, past the hour too."""
    made = webvtt([Segment(3600.0, 3602.0, "no times here", 1.0, ())])
    assert made == "WEBVTT\n\n01:00:00.000 --> 01:00:02.000\nno times here\n"
    assert webvtt([]) == "WEBVTT\n"
