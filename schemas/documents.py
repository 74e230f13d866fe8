"""JSON Schemas of all that crosses the border, an example of each event, and one AsyncAPI document of the topics.

Beside them lie the schemas of works between flows, of this and of every earlier version.

`python -m schemas.documents` writes them beside this file, into `documents/`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from schemas.asyncapi import EVENTS, asyncapi
from schemas.batches import KNOWN, known_schemas
from schemas.examples import EXAMPLES
from schemas.manifest import Manifest
from schemas.openlineage import FileDatasetFacet, StepRunFacet
from schemas.pipelines import Pipeline
from schemas.template import TemplateManifest

FOLDER = Path(__file__).parent / "documents"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
URN = "urn:asset-pipeline:schema"

# file name -> model, and the version of its form
MODELS: dict[str, type[BaseModel]] = {
    **EVENTS,
    "manifest": Manifest,
    "pipeline": Pipeline,
    "template": TemplateManifest,
    "openlineage-step-run-facet": StepRunFacet,
    "openlineage-file-dataset-facet": FileDatasetFacet,
}


def json_schema(name: str) -> dict[str, Any]:
    """A model's JSON Schema, draft 2020-12."""
    schema = MODELS[name].model_json_schema(by_alias=True, mode="validation")
    return {"$schema": DIALECT, "$id": f"{URN}:{name}:1", **schema}


def documents() -> dict[str, str]:
    """All documents as text, by file name; the same for the same models."""
    found: dict[str, Any] = {f"{name}.schema.json": json_schema(name) for name in MODELS}
    found |= {f"{name}.example.json": json.loads(example.value) for name, example in EXAMPLES.items()}
    found |= {"asyncapi.json": asyncapi(), KNOWN.name: known_schemas()}
    return {name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in found.items()}


def main() -> None:
    """Writes the documents, and removes what is none."""
    FOLDER.mkdir(exist_ok=True)
    wanted = documents()
    for path in FOLDER.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
