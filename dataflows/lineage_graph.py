"""The lineage graph of one asset: assets, files, values, steps and publications, and what led to what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.asset import Output, StepResult
from schemas.base import Model

Kind = Literal["asset", "file", "value", "step", "publication"]


class Ran(Model):
    """A step as it was run in a job: found or computed, when it ended (ms since 1970; 0 where unknown)."""

    result: StepResult
    cached: bool = False
    at_ms: int = 0
    message: str = ""

    @property
    def name(self) -> str:
        """Stage and step."""
        return f"{self.result.stage} {self.result.step}".strip()


class Publication(Model):
    """One receipt of a channel; `name` is the published version."""

    channel: str
    version: str
    name: str
    url: str
    at_ms: int = 0
    params: dict[str, Any] = {}


class Relative(Model):
    """An asset of the graph, by what the table says of it."""

    asset_id: str
    name: str
    kind: str = ""
    state: str = ""
    parents: tuple[str, ...] = ()


class Node(Model):
    """`id` is "asset:…", "sha256:…", "step:…" or a channel's URL; a value has a digest, but no file."""

    id: str
    kind: Kind
    label: str
    about: dict[str, Any] = {}


# values that say how a file came to be; the others are findings
MEASURED = ("loudness", "layout")


@dataclass
class Graph:
    """Nodes by id and edges, both in the order of the work. `runs` are its steps by their node's id."""

    asset: Relative
    tenant: str
    job_id: str
    source: str
    accepted_ms: int
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[tuple[str, str], None] = field(default_factory=dict)
    runs: dict[str, Ran] = field(default_factory=dict)
    published: dict[str, Publication] = field(default_factory=dict)

    @property
    def root(self) -> str:
        """The asset's node."""
        return f"asset:{self.asset.asset_id}"

    def targets(self, node: str) -> list[str]:
        """What this node led to."""
        return [target for source, target in self.edges if source == node]

    def sources(self, node: str) -> list[str]:
        """What this node came from."""
        return [source for source, target in self.edges if target == node]


def build(
    *, asset: Relative, tenant: str, job_id: str, source: str, accepted_ms: int, runs: Sequence[Ran],
    urls: Mapping[str, str], publications: Iterable[Publication], parents: Iterable[Relative],
    children: Iterable[Relative],
) -> Graph:  # fmt: skip
    """The graph of an asset from its steps, its receipts and its relatives."""
    graph = Graph(asset, tenant, job_id, source, accepted_ms)
    for parent in parents:
        _asset(graph, parent)
        graph.edges[f"asset:{parent.asset_id}", graph.root] = None
    _asset(graph, asset, source=source)
    for run in runs:
        for output in run.result.outputs:
            _file(graph, output, urls.get(output.sha256, ""))
    for run in runs:
        _step(graph, run)
    for publication in publications:
        _publication(graph, publication)
    for child in children:
        _asset(graph, child)
    for child in children:
        for parent_id in child.parents:
            if f"asset:{parent_id}" in graph.nodes:
                graph.edges[f"asset:{parent_id}", f"asset:{child.asset_id}"] = None
    return graph


def _asset(graph: Graph, asset: Relative, **more: str) -> None:
    node = f"asset:{asset.asset_id}"
    about = asset.model_dump(include={"kind", "state"}) | more
    graph.nodes.setdefault(node, Node(id=node, kind="asset", label=asset.name, about=about))


def _file(graph: Graph, output: Output, url: str) -> None:
    """A file under its content; a second name for the same bytes is noted."""
    node = f"sha256:{output.sha256}"
    known = graph.nodes.get(node)
    names = [*known.about["names"], output.name] if known else [output.name]
    about = output.model_dump(include={"bytes", "media_type", "role", "properties"})
    graph.nodes[node] = Node(
        id=node, kind="file", label=known.label if known else output.name,
        about={**about, "url": url, "names": list(dict.fromkeys(names))},
    )  # fmt: skip


def _step(graph: Graph, run: Ran) -> None:
    """A step between its inputs and its outputs; one that recorded none hangs on the original, or on the asset."""
    result, node = run.result, f"step:{run.result.stage}.{run.result.step}"
    about = result.model_dump(mode="json", include={"version", "params", "state", "code", "duration_s", "result_id"})
    about |= {"cached": run.cached, "at_ms": run.at_ms, "message": run.message, "measured": measured(result)}
    graph.nodes[node] = Node(id=node, kind="step", label=run.name, about=about)
    graph.runs[node] = run
    for source in _inputs(graph, result):
        if source not in graph.nodes:
            graph.nodes[source] = Node(id=source, kind="value", label=f"value {source[7:15]}")
        graph.edges[source, node] = None
    for output in result.outputs:
        graph.edges[node, f"sha256:{output.sha256}"] = None


def measured(result: StepResult) -> dict[str, Any]:
    """What a step measured and applied, of its values."""
    return {name: result.values[name] for name in MEASURED if name in result.values}


def _inputs(graph: Graph, result: StepResult) -> list[str]:
    if result.stage == "ingest":
        return [graph.root]
    original = next((n.id for n in graph.nodes.values() if "original" in n.about.get("names", ())), graph.root)
    if result.stage == "publish":
        return [graph.root]
    return list(dict.fromkeys(f"sha256:{digest}" for digest in result.inputs)) or [original]


def _publication(graph: Graph, found: Publication) -> None:
    step = f"step:publish.{found.channel}/{found.name}"
    about = {"version": found.version, "params": found.params, "state": "completed", "at_ms": found.at_ms}
    graph.nodes[step] = Node(id=step, kind="step", label=f"publish {found.channel}", about=about)
    graph.nodes[found.url] = Node(id=found.url, kind="publication", label=found.name, about={"url": found.url})
    graph.published[step] = found
    graph.edges[graph.root, step] = None
    graph.edges[step, found.url] = None
