"""The routing table: which row wins, what a result id holds, and who may ask a vector space."""

from __future__ import annotations

import pytest
from models_fixtures import route
from pydantic import ValidationError

from operators.models import registry
from operators.models.efficientnet import NETWORK
from operators.models.sessions import digest
from schemas.routing import PROFILES, Routing, Task

LITE = PROFILES["lite"]
OWN = {"tenant": "acme", "revision": "own"}


def test_a_tenants_own_row_wins_and_others_fall_to_the_common_one() -> None:
    """The tenant's row is taken before "*", whatever the kind; another tenant gets the common row."""
    common = route(Task.OCR)
    table = Routing(routes=(common, common.model_copy(update=OWN), common.model_copy(update={"kind": "image"})))
    own, kinds = table.lookup(Task.OCR, "image", "acme"), table.lookup(Task.OCR, "image", "other")
    assert own is not None and own.revision == "own"
    assert kinds is not None and kinds.kind == "image"
    assert table.lookup(Task.OCR, "video", "other") == common


@pytest.mark.parametrize("task", [Task.OBJECTS, Task.FACES])
def test_a_task_without_a_row_has_no_model(task: Task) -> None:
    """Such a task gives None, so that its step is skipped; a word that is no task is an error."""
    assert LITE.lookup(task, "image", "acme") is None
    with pytest.raises(ValueError, match="nonsense"):
        LITE.lookup("nonsense")


def test_a_space_names_model_revision_precision_processor_and_pooling() -> None:
    """A change of any of the five makes another space."""
    image = route(Task.IMAGE_EMBEDDING)
    assert image.space == "efficientnet-lite0@57934424/int8/resize256-crop224/avgpool"
    for field in ("model", "revision", "precision", "processor", "pooling"):
        assert image.model_copy(update={field: "other"}).space != image.space
    assert route(Task.OCR).space == ""


def test_every_space_is_asked_by_its_own_encoder() -> None:
    """The bridge and the text space are asked by the one text encoder, the image space by pictures."""
    spaces = {made.task: LITE.encoder_of(space).task for space, made in LITE.spaces().items()}
    assert spaces == {
        Task.TEXT_EMBEDDING: Task.TEXT_EMBEDDING,
        Task.IMAGE_TEXT_BRIDGE: Task.TEXT_EMBEDDING,
        Task.IMAGE_EMBEDDING: Task.IMAGE_EMBEDDING,
    }
    with pytest.raises(KeyError):
        LITE.encoder_of("clip@0/float32/center/cls")


def test_a_bridge_to_a_missing_encoder_is_refused() -> None:
    """A profile whose text encoder is another than the one the bridge was made for cannot be built."""
    bridge, text = route(Task.IMAGE_TEXT_BRIDGE), route(Task.TEXT_EMBEDDING)
    with pytest.raises(ValidationError, match="no encoder"):
        Routing(routes=(bridge, text.model_copy(update={"revision": "other"})))


def test_two_rows_for_one_key_are_refused() -> None:
    """The table never has to guess."""
    with pytest.raises(ValidationError, match="two routes"):
        Routing(routes=(route(Task.OCR), route(Task.OCR)))


def test_params_hold_what_decides_the_answer_and_nothing_else() -> None:
    """Revision, precision, processor and weights are in a result id; whose row it was is not."""
    common = route(Task.IMAGE_LABELS)
    assert common.params()["weights"] == digest([NETWORK])
    assert {"revision", "precision", "processor", "options"} <= common.params().keys()
    assert common.model_copy(update={"tenant": "acme", "kind": "image"}).params() == common.params()


@pytest.mark.parametrize("chosen", LITE.routes, ids=lambda chosen: str(chosen.task))
def test_the_weights_are_those_that_the_route_names(chosen) -> None:
    """Every route of the profile names the digest of the weights that are there."""
    if not registry.available(chosen):
        pytest.skip("needs the asr extra")
    files = registry._provider(chosen.provider).files(chosen.task)
    assert digest(files) == chosen.weights
