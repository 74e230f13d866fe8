"""`lineage`: every file of an asset with the steps that made it, in four forms."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
from typing import Any

import jsonschema
import kept_runs
import pytest
from flow_runs import PROGRAM, Place

from dataflows.lineage import _descendants, show
from dataflows.lineage_forms import escaped
from dataflows.output import Output
from schemas import documents

# What OpenLineage 2-0-2 requires of a run event, put down from its specification.
URI: dict[str, Any] = {"type": "string", "format": "uri"}
FACETS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": {"_producer": URI, "_schemaURL": URI},
        "required": ["_producer", "_schemaURL"],
    },
}
NAMED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "namespace": {"type": "string"},
        "name": {"type": "string"},
        "facets": FACETS,
        "outputFacets": FACETS,
    },
    "required": ["namespace", "name"],
}
RUN_EVENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "eventTime": {"type": "string", "format": "date-time"},
        "producer": URI,
        "schemaURL": URI,
        "run": {
            "type": "object",
            "properties": {"runId": {"type": "string", "format": "uuid"}, "facets": FACETS},
            "required": ["runId"],
        },
        "job": NAMED,
        "inputs": {"type": "array", "items": NAMED},
        "outputs": {"type": "array", "items": NAMED},
    },
    "required": ["eventTime", "producer", "schemaURL", "run", "job"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A finished run."""
    return kept_runs.kept(tmp_path_factory.mktemp("lineage"))


def lineage(place: Place, name: str, form: str = "tree", descendants: bool = False) -> str:
    """What is printed to a file."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        show(place.settings, kept_runs.called(name), form, descendants, Output(False))
    return printed.getvalue()


def graph_of(place: Place, name: str, descendants: bool = False) -> dict[str, Any]:
    """The graph as JSON."""
    found: dict[str, Any] = json.loads(lineage(place, name, "json", descendants))
    return found


def test_the_command_prints_the_graph(place: Place) -> None:
    """With --json the command prints one object, the graph; an unknown format is an error of usage."""
    command = [str(PROGRAM), "lineage", "one.png", "--out", str(place.out)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == graph_of(place, "one.png")
    assert subprocess.run([*command, "--format", "dot"], capture_output=True, check=False).returncode == 2


def test_every_file_leads_back_to_the_source(place: Place) -> None:
    """From each file of the manifest the edges lead back to the asset, over the step that made it."""
    graph = graph_of(place, "one.png")
    sources: dict[str, list[str]] = {}
    for edge in graph["edges"]:
        sources.setdefault(edge["target"], []).append(edge["source"])
    manifest = next(m for m in place.manifests() if m.asset_id == graph["asset_id"])
    ids = {node["id"] for node in graph["nodes"]}
    for variant in manifest.variants:
        node, way = f"sha256:{variant.sha256}", []
        while node in sources:
            way.append(node)
            node = sources[node][0]
        assert way[0] in ids
        assert way[1].startswith("step:derive.") or way[1].startswith("step:preview.")
        assert node == f"asset:{manifest.asset_id}"


def test_the_publication_is_in_the_graph(place: Place) -> None:
    """The channel's receipt is a step from the asset to the published folder."""
    graph = graph_of(place, "one.png")
    (published,) = (node for node in graph["nodes"] if node["kind"] == "publication")
    step = next(edge["source"] for edge in graph["edges"] if edge["target"] == published["id"])
    assert step.startswith("step:publish.folder")
    assert {"source": f"asset:{graph['asset_id']}", "target": step} in graph["edges"]


def test_the_tree_names_each_object_once(place: Place) -> None:
    """The tree begins with the asset and has each file with its size once; other mentions refer to it."""
    told = lineage(place, "one.png")
    assert told.startswith("one.png")
    for node in graph_of(place, "one.png")["nodes"]:
        if node["kind"] == "file":
            assert told.count(node["id"].removeprefix("sha256:")[:12]) == 1
    assert re.search(r"derive renditions v\d+  widths=\S+  quality=80  (found|[\d.]+ s)  [0-9a-f]{12}", told)


def test_openlineage_events_are_valid(place: Place) -> None:
    """Each step that ran has a START and one end, of one run, with its files; our facets match their schemas."""
    events = [json.loads(line) for line in lineage(place, "one.png", "openlineage").splitlines()]
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    for event in events:
        jsonschema.Draft202012Validator(RUN_EVENT, format_checker=checker).validate(event)
        jsonschema.validate(
            event["run"]["facets"]["assetPipeline_step"], documents.json_schema("openlineage-step-run-facet")
        )
        for output in event["outputs"]:
            if "assetPipeline_file" in output.get("facets", {}):
                own = documents.json_schema("openlineage-file-dataset-facet")
                jsonschema.validate(output["facets"]["assetPipeline_file"], own)
    runs = {event["run"]["runId"]: [] for event in events}
    for event in events:
        runs[event["run"]["runId"]].append(event["eventType"])
    assert all(kinds == ["START", "COMPLETE"] for kinds in runs.values())
    jobs = {event["job"]["name"] for event in events}
    assert {"ingest.fetch", "validate.gate", "derive.renditions", "publish.folder"} <= jobs


def test_mermaid_is_a_flowchart(place: Place) -> None:
    """Every node is declared before it is used, and labels hold nothing that Mermaid would read as markup."""
    lines = lineage(place, "one.png", "mermaid").splitlines()
    assert lines[0] == "flowchart LR"
    declared = {found[1] for line in lines if (found := re.fullmatch(r'  (n\d+)\W+"[^"]*"\W+\w+', line))}
    used = {name for line in lines if " --> " in line for name in line.split(" --> ")}
    assert {name.strip() for name in used} <= declared
    assert len(declared) == len(graph_of(place, "one.png")["nodes"])
    assert escaped('a"];b<script>#`\nc') == "a#34;#93;#59;b#60;script#62;#35;#96;<br/>c"


def test_a_failed_asset_shows_what_was_done(place: Place) -> None:
    """An asset without a manifest shows its steps, and the stage that ended it with code and sentence."""
    told = lineage(place, "broken.pdf")
    assert "ingest fetch" in told
    assert re.search(r"validate  failed  corrupt_document", told)
    events = [json.loads(line) for line in lineage(place, "broken.pdf", "openlineage").splitlines()]
    assert events[-1]["eventType"] == "FAIL"
    assert "damaged" in events[-1]["run"]["facets"]["errorMessage"]["message"]


def test_descendants_are_shown_on_request(place: Place) -> None:
    """With --descendants the assets that name this one as their parent are in the graph; the child names its parent."""
    child, parent = f"asset:{kept_runs.called('child.png')}", f"asset:{kept_runs.called('one.png')}"
    assert {"source": parent, "target": child} in graph_of(place, "one.png", True)["edges"]
    assert child not in {node["id"] for node in graph_of(place, "one.png")["nodes"]}
    assert f"made from one.png  {parent}" in lineage(place, "child.png")


def test_descendants_end_in_a_cycle() -> None:
    """Assets that name each other as parents are found once each."""
    table = {a: {"source": a, "parents": [b], "kind": "", "state": ""} for a, b in (("a", "c"), ("b", "a"), ("c", "b"))}
    assert [found.asset_id for found in _descendants("a", table)] == ["b", "c"]
