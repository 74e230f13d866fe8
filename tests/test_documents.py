"""The documents of all that crosses the border: valid, of this version of the models, and true of real events."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from schemas import documents
from schemas.examples import EXAMPLES
from schemas.pipelines import Pipeline

WRITTEN: dict[str, Any] = {name: json.loads(example.value) for name, example in EXAMPLES.items()}
WRITTEN["pipeline"] = Pipeline().model_dump(mode="json")


def validator(name: str) -> jsonschema.Draft202012Validator:
    """A validator of the committed schema, formats too."""
    schema = json.loads((documents.FOLDER / f"{name}.schema.json").read_text())
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def test_the_committed_documents_are_those_of_the_models() -> None:
    """`python -m schemas.documents` would change nothing, and no other document lies there."""
    there = {path.name: path.read_text() for path in documents.FOLDER.iterdir()}
    assert there == documents.documents()


@pytest.mark.parametrize("name", documents.MODELS)
def test_every_schema_is_one(name: str) -> None:
    """Each JSON Schema is valid under its own dialect's meta schema."""
    found = validator(name)
    assert found.schema["$id"] == f"urn:asset-pipeline:schema:{name}:1"
    found.check_schema(found.schema)


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_its_schema_takes(name: str) -> None:
    """An event as it is sent is valid, and one with a field of nobody's is not."""
    validator(name).validate(WRITTEN[name])
    with pytest.raises(jsonschema.ValidationError):
        validator(name).validate(WRITTEN[name] | {"nobody": 1})


def test_a_bad_event_is_refused_by_the_schema() -> None:
    """A tenant that the model refuses, the schema refuses too."""
    event = WRITTEN["ingest-event"]
    bad = event | {"data": event["data"] | {"tenant": "../other"}}
    with pytest.raises(jsonschema.ValidationError, match="does not match"):
        validator("ingest-event").validate(bad)
