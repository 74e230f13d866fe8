"""The notebooks: executed on the tables that a real run wrote, in a folder and on S3; and as they are saved."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from buckets import bucket
from PIL import Image

from chaos.servers import S3, S3_KEY, S3_SECRET
from notebooks.__main__ import HERE, METADATA, NAMES, executed, tidied
from notebooks.population import populate

LARGEST = 600_000
PATHS = re.compile(r"/(home|root|tmp|work|usr|var|opt|Users|builds?|workspace)/|site-packages")
TIMES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")
# making the run takes most of it, on a machine that does nothing else
LONGEST_S = 900


def saved(name: str) -> Any:
    """The notebook as it is kept."""
    return nbformat.read(HERE / f"{name}.ipynb", as_version=4)


def outputs(notebook: Any) -> Iterator[Any]:
    """The outputs of all cells."""
    for cell in notebook.cells:
        yield from cell.get("outputs", ())


def plots(notebook: Any) -> list[np.ndarray]:
    """All pictures, as pixels."""
    found = [output.data["image/png"] for output in outputs(notebook) if "image/png" in output.get("data", {})]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in found]


def check_outputs(notebook: Any) -> None:
    """No error, nothing on stderr, no plot that is empty, and an answer with figures."""
    for output in outputs(notebook):
        assert output.output_type != "error", output.evalue
        assert output.get("name") != "stderr", output.text
    shown = plots(notebook)
    assert len(shown) >= 2
    for plot in shown:
        assert min(plot.shape[:2]) > 100 and (plot < 200).any(axis=2).mean() > 0.002
    (answer,) = notebook.cells[-1].outputs
    text = answer.data["text/markdown"]
    assert text.count("\n- ") >= 2 and re.search(r"\d", text)
    assert not re.search(r"\b(nan|None|inf)\b", text)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment that leads to a run's folder."""
    folder = tmp_path_factory.mktemp("notebooks")
    populate(folder)
    return {"ASSET_PIPELINE_OUT": str(folder / "out")}


@pytest.mark.timeout(LONGEST_S)
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name: str, embedded: dict[str, str]) -> None:
    """It runs on the tables of a run, and shows what the saved one shows."""
    kept, now = saved(name), executed(name, embedded)
    check_outputs(now)
    assert [cell.source for cell in now.cells] == [cell.source for cell in kept.cells]
    assert len(plots(now)) == len(plots(kept))


@pytest.mark.services
@pytest.mark.timeout(LONGEST_S)
def test_the_notebooks_run_on_s3_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same line reads tables and objects that lie on S3."""
    with bucket() as tables, bucket() as objects:
        settings = {
            "TABLES": tables, "OBJECTS": objects, "S3_ENDPOINT": S3, "S3_ACCESS_KEY": S3_KEY,
            "S3_SECRET_KEY": S3_SECRET, "OUT": str(tmp_path / "out"),
        }  # fmt: skip
        for key, value in settings.items():
            monkeypatch.setenv(f"ASSET_PIPELINE_{key}", value)
        populate(tmp_path, sized=False)
        assert not (tmp_path / "out" / "tables").exists()
        assert not (tmp_path / "out" / "store").exists()
        for name in NAMES:
            check_outputs(executed(name, {}))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_notebook_has_its_outputs(name: str) -> None:
    """It opens with its question, ends with its answer, and was saved whole by one execution."""
    notebook = saved(name)
    check_outputs(notebook)
    first, code = notebook.cells[0], [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert first.cell_type == "markdown" and "**Question:" in first.source
    assert notebook.cells[-2].source.rstrip().endswith("## Answer")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_notebook_tells_nothing_of_its_machine(name: str) -> None:
    """No paths, users or times of execution; small, and in the form that saving gives it."""
    text = (HERE / f"{name}.ipynb").read_text()
    notebook = saved(name)
    words = re.sub(r'"image/png": "[^"]*"', "", text)
    assert not PATHS.search(words) and not TIMES.search(words)
    assert len(text) < LARGEST
    assert notebook.metadata == METADATA
    assert nbformat.writes(tidied(notebook)) + "\n" == text
