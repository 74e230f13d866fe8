"""EfficientNet-lite0 in float32, as an ONNX graph made from its published PyTorch weights without torch."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 224
CHANNELS, CLASSES, EPSILON = 1280, 1000, 1e-3
# Repeats, kernel, stride, expansion, output channels: the stages of EfficientNet-B0, which lite0 keeps
# without squeeze-and-excite and with ReLU6 for swish.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
State = dict[str, np.ndarray]


class _Unpickler(pickle.Unpickler):
    """Reads the records of a torch file of before version 1.6, and can make nothing but tensors of it."""

    def find_class(self, module: str, name: str) -> Any:
        """The few names that a state dict needs; any other is an error."""
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, shape, stride, *_: (
                storage,
                offset,
                shape,
                stride,
            ),
            ("torch", "FloatStorage"): np.dtype("<f4"),
            ("torch", "LongStorage"): np.dtype("<i8"),
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong in a state dict")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """A storage's type and key: ("storage", dtype, key, device, numel, view)."""
        return pid[1], pid[2]


def _storages(file: BinaryIO, keys: list[str], dtypes: dict[str, np.dtype[Any]]) -> State:
    storages = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        storages[key] = np.frombuffer(file.read(count * dtypes[key].itemsize), dtypes[key])
    return storages


def read_state(path: Path) -> State:
    """The arrays of a state dict in torch's file format of before version 1.6."""
    with path.open("rb") as file:
        for _ in range(3):  # magic number, protocol, sizes of the system's types
            _Unpickler(file).load()
        tensors, keys = _Unpickler(file).load(), _Unpickler(file).load()
        dtypes = {key: dtype for (dtype, key), *_ in tensors.values()}
        storages = _storages(file, keys, dtypes)
    return {
        name: np.lib.stride_tricks.as_strided(
            storages[key][offset:], shape, [step * storages[key].itemsize for step in stride]
        ).copy()
        for name, ((_, key), offset, shape, stride) in tensors.items()
    }


class _Graph:
    """An ONNX graph under construction; every method returns the name of the tensor that it adds."""

    def __init__(self, state: State) -> None:
        self.state, self.nodes, self.constants = state, list[Any](), list[Any]()

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float32, order="C"), name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def conv(self, x: str, name: str, norm: str, side: int, stride: int = 1, act: bool = True) -> str:
        """Convolution with TensorFlow's SAME padding (the odd pixel below and right), batch norm folded."""
        weight = self.state[f"{name}.weight"]
        gamma, beta, mean, var = (
            self.state[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(var + EPSILON)
        depthwise = weight.shape[1] == 1 and weight.shape[2] > 1
        pad = max((-(-side // stride) - 1) * stride + weight.shape[2] - side, 0)
        inputs = [
            x,
            self.constant(f"{name}.w", weight * scale[:, None, None, None]),
            self.constant(f"{name}.b", beta - mean * scale),
        ]
        y = self.node(
            "Conv",
            inputs,
            name,
            strides=[stride] * 2,
            pads=[pad // 2, pad // 2, pad - pad // 2, pad - pad // 2],
            group=len(weight) if depthwise else 1,
        )
        return self.node("Clip", [y, "zero", "six"], f"{name}.relu6") if act else y

    def block(self, x: str, name: str, side: int, stride: int, expand: bool, residual: bool) -> str:
        """Inverted bottleneck: expand 1x1, depthwise kxk, project 1x1 without activation."""
        y = self.conv(x, f"{name}._expand_conv", f"{name}._bn0", side) if expand else x
        y = self.conv(y, f"{name}._depthwise_conv", f"{name}._bn1", side, stride)
        y = self.conv(y, f"{name}._project_conv", f"{name}._bn2", side, act=False)
        return self.node("Add", [x, y], f"{name}.add") if residual else y

    def blocks(self, x: str, side: int) -> str:
        index = 0
        for repeats, _, first_stride, expansion, _ in STAGES:
            for repeat in range(repeats):
                stride = 1 if repeat else first_stride
                x = self.block(x, f"_blocks.{index}", side, stride, expansion > 1, repeat > 0)
                side, index = -(-side // stride), index + 1
        return x


def float_network(state: State) -> onnx.ModelProto:
    """EfficientNet-lite0 in float32: pixels (N, 3, 224, 224) -> embedding (N, 1280), logits (N, 1000)."""
    graph = _Graph(state)
    graph.constant("zero", np.array(0))
    graph.constant("six", np.array(6))
    x = graph.conv("pixels", "_conv_stem", "_bn0", SIDE, stride=2)
    x = graph.conv(graph.blocks(x, SIDE // 2), "_conv_head", "_bn1", SIDE // 32)
    x = graph.node("GlobalAveragePool", [x], "pooled")
    x = graph.node("Flatten", [x], "embedding")
    weight, bias = graph.constant("_fc.w", state["_fc.weight"]), graph.constant("_fc.b", state["_fc.bias"])
    graph.node("Gemm", [x, weight, bias], "logits", transB=1)
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])
        for name, shape in (("pixels", [3, SIDE, SIDE]), ("embedding", [CHANNELS]), ("logits", [CLASSES]))
    ]
    body = helper.make_graph(graph.nodes, "efficientnet-lite0", tensors[:1], tensors[1:], graph.constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model
