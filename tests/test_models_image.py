"""The image network and its bridge to words, on the samples."""

from __future__ import annotations

import io
import json
import zipfile
from functools import cache

import numpy as np
import pytest
from models_fixtures import PICTURES, ask, picture, route, stills
from PIL import Image

from operators.models import efficientnet
from operators.models.minilm import embed
from operators.models.pictures import pixels
from operators.models.sessions import digest
from operators.models.vectors import conse, softmax
from operators.stages.model_tasks import on_stills
from schemas.routing import Task

CARD = json.loads(efficientnet.NETWORK.with_suffix(".json").read_text(encoding="utf-8"))


@cache
def bridge() -> np.ndarray:
    """The samples' and then the stills' vectors among words."""
    return ask(Task.IMAGE_TEXT_BRIDGE, [*map(picture, PICTURES), *stills()])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chelsea.png", {"tabby", "tiger cat", "Egyptian cat"}),
        ("coffee.png", {"espresso", "cup"}),
        ("rocket.jpg", {"missile", "projectile", "space shuttle"}),
    ],
)
def test_the_samples_get_their_labels(name: str, expected: set[str]) -> None:
    """The likeliest label of a sample is what it shows, and labels come best first."""
    (labels,) = ask(Task.IMAGE_LABELS, [picture(name)])
    assert labels[0].name in expected
    assert [label.probability for label in labels] == sorted((x.probability for x in labels), reverse=True)
    assert all(0.05 <= label.probability <= 1 for label in labels)


def test_stills_in_a_zip_are_known_by_their_time_and_flat_ones_left_out() -> None:
    """The answers are those on the pictures themselves; a fade among them has none."""
    grey = np.full((90, 160, 3), 90, np.uint8)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for time, one in ((12_000, picture("rocket.jpg")), (500, picture("chelsea.png")), (7_000, grey)):
            coded = io.BytesIO()
            Image.fromarray(one).save(coded, "png")
            file.writestr(f"{time:08d}.png", coded.getvalue())
    times, vectors = on_stills(Task.IMAGE_EMBEDDING, route(Task.IMAGE_EMBEDDING), data.getvalue(), "application/zip")
    assert times == [500, 12_000]
    wanted = ask(Task.IMAGE_EMBEDDING, [picture("chelsea.png"), picture("rocket.jpg")])
    np.testing.assert_allclose(vectors, wanted, atol=1e-6)


def test_a_black_picture_gets_no_label() -> None:
    """Where no class is likely there is no label rather than a wrong one."""
    assert ask(Task.IMAGE_LABELS, [np.zeros((90, 160, 3), np.uint8)]) == [[]]


def test_embeddings_are_unit_vectors_and_like_pictures_are_near() -> None:
    """A part of a picture is nearer to it than another picture; 1280 dimensions, float32, length 1."""
    cat, coffee = picture("chelsea.png"), picture("coffee.png")
    vectors = ask(Task.IMAGE_EMBEDDING, [cat, cat[20:280, 60:400], coffee])
    assert vectors.shape == (3, 1280) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.7 > vectors[0] @ vectors[2]


def test_an_answer_does_not_depend_on_the_batch() -> None:
    """A picture has the same vector alone and among others, and over the border of a batch."""
    many = [picture("rocket.jpg")] * (efficientnet.BATCH + 2)
    together = ask(Task.IMAGE_EMBEDDING, many)
    alone = ask(Task.IMAGE_EMBEDDING, many[:1])
    np.testing.assert_array_equal(together, np.repeat(alone, len(many), axis=0))


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("a cat", "chelsea.png"),
        ("cat", "chelsea.png"),
        ("kitten", "chelsea.png"),
        ("rocket launch", "rocket.jpg"),
        ("space rocket", "rocket.jpg"),
        ("cup of coffee", "coffee.png"),
        ("a hot drink", "coffee.png"),
    ],
)
def test_words_find_the_picture(words: str, name: str) -> None:
    """The picture that shows it is first among all samples and the video's stills."""
    scores = bridge() @ ask(Task.TEXT_EMBEDDING, [words])[0]
    assert int(scores.argmax()) == PICTURES.index(name), scores.round(2).tolist()


@pytest.mark.parametrize("words", ["a meadow", "a bird", "a landscape"])
def test_words_find_a_moment_of_the_video(words: str) -> None:
    """Words for what the video shows find one of its stills before any picture."""
    scores = bridge() @ ask(Task.TEXT_EMBEDDING, [words])[0]
    assert int(scores.argmax()) >= len(PICTURES), scores.round(2).tolist()


def test_conse_is_the_weighted_mean_of_the_likeliest_names() -> None:
    """Two likely classes of three give the direction between their names, nearer to the likelier."""
    names = np.eye(3, dtype=np.float32)
    (vector,) = conse(np.array([[0.6, 0.3, 0.1]]), names, top=2)
    np.testing.assert_allclose(vector, np.array([2, 1, 0]) / np.sqrt(5), atol=1e-6)
    assert softmax(np.array([[2.0, 0.0]]), 0.5)[0, 0] > softmax(np.array([[2.0, 0.0]]))[0, 0]


def test_the_names_vectors_are_the_text_encoders() -> None:
    """The committed matrix is what the text encoder says of the names, and the bridge names that encoder."""
    rows = [0, 281, 657, 999]
    texts = [CARD["names"]["prompt"].format(efficientnet.names()[row]) for row in rows]
    np.testing.assert_allclose(efficientnet.name_vectors()[rows], embed(texts), atol=2e-3)
    assert len(set(efficientnet.names())) == 1000
    assert CARD["names"]["encoder"] == route(Task.IMAGE_TEXT_BRIDGE).encoder == route(Task.TEXT_EMBEDDING).space


def test_the_card_tells_the_truth() -> None:
    """The model card has the digests of the files beside it, and the route's words for the model."""
    chosen = route(Task.IMAGE_EMBEDDING)
    assert CARD["sha256"] == digest([efficientnet.NETWORK]) == chosen.weights
    assert CARD["names"]["sha256"] == digest([efficientnet.NAME_VECTORS])
    for field in ("model", "revision", "precision", "processor", "pooling", "dimension"):
        assert CARD[field] == getattr(chosen, field)


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 900, 3), (900, 5, 3), (224, 224, 3)])
def test_any_size_of_picture_becomes_the_networks_input(shape: tuple[int, int, int]) -> None:
    """Pixels become float32 (N, 3, 224, 224) within (x - 127) / 128, whatever the picture's shape."""
    made = pixels([np.full(shape, 255, np.uint8)])
    assert made.shape == (1, 3, 224, 224) and made.dtype == np.float32
    np.testing.assert_array_equal(made, 1.0)
