"""Weights on disk: where they lie, that they are those a route names, and onnxruntime sessions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import onnxruntime as ort

from schemas.errors import AssetError

FOLDER = Path(__file__).parent / "weights"


def package(name: str) -> Path:
    """The folder of a package, which is not imported; AssetError `no_model` where it is missing."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise AssetError("no_model", f"the package {name} is not installed")
    return Path(spec.origin).parent


def digest(paths: Sequence[Path]) -> str:
    """SHA-256 (hex) of one file; of several, of their digests in order."""
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def check(model: str, paths: Sequence[Path], expected: str) -> None:
    """AssetError `internal` where the files are not those whose digest is expected."""
    found = digest(paths)
    if found != expected:
        raise AssetError("internal", f"{model}: the weights are {found[:12]}, the route names {expected[:12]}")


def session(path: Path, threads: int) -> ort.InferenceSession:
    """A session on the CPU with that many threads, which do not spin while they wait."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
