"""Lineage as OpenLineage 2-0-2 run events: a START and a COMPLETE or FAIL for each step that ran.

A step is a job, "stage.step" in the tenant's namespace; its run's id is a function of the asset's job and the step.
The asset's job is the parent run. Files are datasets named by their digest. Steps that were skipped had no run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any
from urllib.parse import unquote, urlsplit

from dataflows.lineage_graph import Graph, Node, Publication, Ran, measured
from schemas import ids
from schemas.asset import StepResult
from schemas.errors import CODES, State
from schemas.openlineage import FACETS, OWN, SPEC, FileDatasetFacet, StepRunFacet

PRODUCER = f"urn:asset-pipeline:{metadata.version('asset-pipeline')}"
ENDS = {State.COMPLETED: "COMPLETE", State.FAILED: "FAIL", State.REJECTED: "FAIL"}


def events_of(graph: Graph) -> Iterator[dict[str, Any]]:
    """The run events, step by step."""
    for node, run in graph.runs.items():
        if run.result.state in ENDS:
            yield from _events(graph, node, run)
    for node, published in graph.published.items():
        yield from _events(graph, node, _as_run(published))


def _as_run(found: Publication) -> Ran:
    result = StepResult(result_id="", stage="publish", step=found.channel, version=found.version, params=found.params)
    return Ran(result=result, at_ms=found.at_ms)


def _events(graph: Graph, node: str, run: Ran) -> Iterator[dict[str, Any]]:
    ended = run.at_ms or graph.accepted_ms
    took = 0 if run.cached else round(run.result.duration_s * 1000)
    shared = {
        "producer": PRODUCER, "schemaURL": SPEC, "job": _job(graph, run), "run": _run(graph, node, run),
        "inputs": [_input(graph, graph.nodes[source]) for source in graph.sources(node)],
    }  # fmt: skip
    outputs = [_output(graph, graph.nodes[target]) for target in graph.targets(node)]
    yield {"eventType": "START", "eventTime": _time(ended - took), **shared, "outputs": []}
    yield {"eventType": ENDS[run.result.state], "eventTime": _time(ended), **shared, "outputs": outputs}


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _namespace(graph: Graph) -> str:
    return f"asset-pipeline/{graph.tenant}"


def _job(graph: Graph, run: Ran) -> dict[str, Any]:
    name = f"{run.result.stage}.{run.result.step}".rstrip(".")
    return {"namespace": _namespace(graph), "name": name}


def _run(graph: Graph, node: str, run: Ran) -> dict[str, Any]:
    result = run.result
    step = StepRunFacet(
        _producer=PRODUCER, _schemaURL=f"{OWN}:openlineage-step-run-facet:1", stage=result.stage, step=result.step,
        version=result.version, params=result.params, resultId=result.result_id, cached=run.cached,
        durationSeconds=result.duration_s, code=result.code, measured=measured(result),
    )  # fmt: skip
    parent = facet(
        "1-0-0", "ParentRunFacet", run={"runId": graph.job_id}, job={"namespace": _namespace(graph), "name": "asset"}
    )
    facets = {"parent": parent, "assetPipeline_step": step.model_dump(mode="json", by_alias=True)}
    if ENDS[result.state] == "FAIL":
        said = run.message or (CODES[result.code].sentence if result.code else "")
        facets["errorMessage"] = facet("1-0-0", "ErrorMessageRunFacet", message=said, programmingLanguage="Python")
    return {"runId": ids.event_id("openlineage", graph.job_id, node), "facets": facets}


def facet(revision: str, schema: str, /, **fields: Any) -> dict[str, Any]:
    """One of OpenLineage's own facets."""
    return {"_producer": PRODUCER, "_schemaURL": f"{FACETS}/{revision}/{schema}.json#/$defs/{schema}", **fields}


def _input(graph: Graph, node: Node) -> dict[str, Any]:
    if node.id == graph.root:
        return _source(graph)
    return {"namespace": _namespace(graph), "name": node.id, "facets": _facets(node)}


def _source(graph: Graph) -> dict[str, Any]:
    """The asset's source."""
    source = facet("1-0-0", "DatasourceDatasetFacet", name=graph.asset.name, uri=graph.source)
    return {**_place(graph.source), "facets": {"dataSource": source}}


def _place(uri: str) -> dict[str, str]:
    """A file or web address as a dataset's name: OpenLineage's convention for files."""
    address = urlsplit(uri)
    namespace = f"{address.scheme}://{address.netloc}" if address.netloc else address.scheme or "file"
    return {"namespace": namespace, "name": unquote(address.path) or "/"}


def _output(graph: Graph, node: Node) -> dict[str, Any]:
    if node.kind == "publication":
        return _place(node.id)
    found: dict[str, Any] = {"namespace": _namespace(graph), "name": node.id, "facets": _facets(node)}
    if node.kind == "file":
        size = facet("1-0-2", "OutputStatisticsOutputDatasetFacet", size=node.about["bytes"], fileCount=1)
        found["outputFacets"] = {"outputStatistics": size}
    return found


def _facets(node: Node) -> dict[str, Mapping[str, Any]]:
    if node.kind != "file":
        return {}
    about = node.about
    file = FileDatasetFacet(
        _producer=PRODUCER, _schemaURL=f"{OWN}:openlineage-file-dataset-facet:1",
        sha256=node.id.removeprefix("sha256:"), mediaType=about["media_type"],
        names=tuple(about["names"]), bytes=about["bytes"], role=about["role"],
        url=about["url"], properties=about["properties"],
    )  # fmt: skip
    return {"assetPipeline_file": file.model_dump(mode="json", by_alias=True)}
