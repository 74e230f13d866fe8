"""Text: its vector, its language, and text read from pictures."""

from __future__ import annotations

import numpy as np
import pytest
from models_fixtures import ask, picture
from PIL import Image, ImageDraw, ImageFont

from schemas.routing import Task


def page(*lines: str) -> np.ndarray:
    """Black lines of text on white, uint8 RGB."""
    image = Image.new("RGB", (900, 60 + 70 * len(lines)), "white")
    for index, line in enumerate(lines):
        ImageDraw.Draw(image).text((40, 30 + 70 * index), line, "black", ImageFont.load_default(36))
    return np.asarray(image)


def test_like_texts_are_near_and_vectors_have_length_one() -> None:
    """384 dimensions, float32, length 1; a paraphrase is nearer than another subject."""
    vectors = ask(Task.TEXT_EMBEDDING, ["a cat sleeps", "a kitten is resting", "interest rates rose again"])
    assert vectors.shape == (3, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.5 > 0.2 > vectors[0] @ vectors[2]


def test_a_text_has_one_vector_whatever_it_is_batched_with() -> None:
    """Neither order nor the length of its neighbours changes a vector, so a replay makes the same one."""
    texts = ["short", "a text of middling length about nothing", "long " * 300, ""]
    together = ask(Task.TEXT_EMBEDDING, texts[::-1])[::-1]
    alone = np.concatenate([ask(Task.TEXT_EMBEDDING, [text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_end_of_a_long_text_counts() -> None:
    """A text over 256 tokens is read on in windows: what it says at its end can be found."""
    filler = "The committee met on Tuesday and approved the minutes of the last meeting. " * 20
    plain, ending = ask(Task.TEXT_EMBEDDING, [filler, filler + "A cat slept on the warm windowsill. " * 10])
    question = ask(Task.TEXT_EMBEDDING, ["a sleeping cat"])[0]
    assert ending @ question > plain @ question + 0.1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Ask not what your country can do for you.", "en"),
        ("Der schnelle braune Fuchs springt über den faulen Hund.", "de"),
        ("Le chat dort sur le canapé du salon.", "fr"),
        ("これは日本語の文章です。", "ja"),
    ],
)
def test_languages_are_told(text: str, code: str) -> None:
    """Sentences are told apart with a probability of more than a half."""
    language = ask(Task.LANGUAGE, text)
    assert language.code == code and 0.5 < language.probability <= 1


@pytest.mark.parametrize("text", ["", "Hello world", "12345 67890 12345 67890 !!!", "a b c d e f g h"])
def test_short_text_has_no_language(text: str) -> None:
    """Under twenty letters nothing is said, for a guess would be worse."""
    assert ask(Task.LANGUAGE, text) is None


def test_text_in_a_picture_is_read_with_its_place() -> None:
    """Lines come from top to bottom with their words, confidence and corners in pixels."""
    (lines,) = ask(Task.OCR, [page("Quarterly report 2024", "Revenue grew by 12 percent")])
    assert [line.text for line in lines] == ["Quarterly report 2024", "Revenue grew by 12 percent"]
    assert all(line.confidence > 0.8 for line in lines)
    left, top = lines[0].box[0]
    assert abs(left - 40) < 15 and 20 < top < 50
    assert lines[1].box[0][1] > lines[0].box[2][1]


def test_colours_reach_the_reader_in_the_right_order() -> None:
    """Red text on blue, which have one grey, is read."""
    image = Image.new("RGB", (500, 120), (40, 60, 200))
    ImageDraw.Draw(image).text((40, 30), "Danger zone", (230, 40, 40), ImageFont.load_default(48))
    (lines,) = ask(Task.OCR, [np.asarray(image)])
    assert " ".join(line.text for line in lines) == "Danger zone"


def test_a_picture_without_text_has_no_lines() -> None:
    """A cat and a blank page give no lines, each its own empty answer."""
    assert ask(Task.OCR, [picture("chelsea.png"), page()]) == [[], []]
