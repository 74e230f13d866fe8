"""`python -m notebooks [FOLDER]`: makes the run that the notebooks show, executes them, and saves their outputs.

FOLDER (`build/notebooks`) is emptied first. Notebooks are written in one form, whatever their editor left in them.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from notebooks.population import populate

HERE = Path(__file__).parent
NAMES = (
    "01_pipeline_health",
    "02_lineage",
    "03_search_and_embeddings",
    "04_usage_and_value",
    "05_cost_and_capacity",
)
LONGEST_S = 300
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed(name: str, environment: Mapping[str, str]) -> Any:
    """The notebook with its outputs from these settings' tables. Raises CellExecutionError."""
    notebook = nbformat.read(HERE / f"{name}.ipynb", as_version=4)
    client = NotebookClient(
        notebook, timeout=LONGEST_S, kernel_name="python3", record_timing=False,
        resources={"metadata": {"path": str(HERE)}},
    )  # fmt: skip
    client.execute(env={**os.environ, **environment})
    return tidied(notebook)


def tidied(notebook: Any) -> Any:
    """The notebook with nothing in it of where and when it was executed."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells, 1):
        cell.metadata, cell.id = nbformat.from_dict({}), f"cell-{number:02d}"
    return notebook


def save(name: str, notebook: Any) -> None:
    """Writes a notebook with its outputs."""
    nbformat.write(notebook, HERE / f"{name}.ipynb")


def main(folder: Path) -> None:
    """All five. Raises what making the run or executing them does; a notebook that fails is left as it was."""
    shutil.rmtree(folder, ignore_errors=True)
    populate(folder)
    for name in NAMES:
        save(name, executed(name, {"ASSET_PIPELINE_OUT": str((folder / "out").absolute())}))
        print(f"{name}: saved")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "build" / "notebooks")
