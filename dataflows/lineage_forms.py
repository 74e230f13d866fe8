"""Lineage as a tree for a terminal, as a Mermaid flowchart, and as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rich.text import Text
from rich.tree import Tree

from dataflows.lineage_graph import Graph, Node
from dataflows.output import STYLES, size
from schemas.errors import State

# parameters that say little to a person; JSON and OpenLineage have them all
HIDDEN = frozenset(
    {"limits", "name", "declared", "task", "provider", "processor", "pooling", "weights", "encoder", "dimension"}
)
MOST_PARAMS = 6
WIDE = 500
SHAPES = {
    "asset": ('(["', '"])'),
    "file": ('["', '"]'),
    "value": ('("', '")'),
    "step": ('{{"', '"}}'),
    "publication": ('[/"', '"/]'),
}


def as_json(graph: Graph) -> dict[str, Any]:
    """All nodes, and edges as pairs of their ids."""
    return {
        "asset_id": graph.asset.asset_id,
        "nodes": [node.model_dump(mode="json") for node in graph.nodes.values()],
        "edges": [{"source": source, "target": target} for source, target in graph.edges],
    }


def tree(graph: Graph) -> Tree:
    """Each node once, below the first that led to it; later mentions refer to it."""
    seen: set[str] = set()
    top = Tree(_label(graph, graph.nodes[graph.root]), guide_style="dim")
    for parent in graph.sources(graph.root):
        top.add(Text.assemble(("made from ", "dim"), graph.nodes[parent].label, (f"  {parent}", "dim")))
    seen.add(graph.root)
    _grow(graph, top, graph.root, seen)
    for node in graph.nodes.values():
        if node.kind == "value":
            _add(graph, top, node.id, seen)
    return top


def _grow(graph: Graph, branch: Tree, node: str, seen: set[str]) -> None:
    for target in graph.targets(node):
        _add(graph, branch, target, seen)


def _add(graph: Graph, branch: Tree, node: str, seen: set[str]) -> None:
    if node in seen:
        branch.add(Text(f"{graph.nodes[node].label} ↑", "dim"))
        return
    seen.add(node)
    _grow(graph, branch.add(_label(graph, graph.nodes[node])), node, seen)


def _label(graph: Graph, node: Node) -> Text:
    about = node.about
    if node.kind == "file":
        names = ", ".join(about["names"])
        return Text.assemble(
            (names, "bold"), f"  {size(about['bytes'])}  ", (f"{about['media_type']}  {node.id[7:19]}", "dim")
        )
    if node.kind == "asset":
        state = about.get("state", "")
        rest = f"  {about.get('kind', '')}  {node.id}"
        return Text.assemble((node.label, "bold"), (rest, "dim"), "  ", (state, STYLES.get(state, "")))
    if node.kind == "publication":
        return Text.assemble((node.label, "bold"), (f"  {node.id}", "dim"))
    if node.kind == "value":
        return Text(node.label, "italic")
    return _step(graph, node)


def _step(graph: Graph, node: Node) -> Text:
    about = node.about
    label = Text.assemble((node.label, "cyan"), (f" v{about['version']}" if about["version"] else "", "dim"))
    for param in params(about["params"]):
        label.append(f"  {param}")
    if loudness := about.get("measured", {}).get("loudness"):
        label.append(f"  {levelled(loudness)}", "green")
    others = [graph.nodes[s].label for s in graph.sources(node.id)[1:]]
    if others:
        label.append(f"  from {' and '.join([graph.nodes[graph.sources(node.id)[0]].label, *others])}", "italic")
    if about["state"] != State.COMPLETED:
        label.append(f"  {about['state']}", STYLES.get(about["state"], "yellow"))
    if about.get("code"):
        label.append(f"  {about['code']}", "yellow")
    if about["state"] in (State.FAILED, State.REJECTED):
        label.append(f"  {about['message']}")
    if "duration_s" in about and about["state"] == State.COMPLETED:
        label.append("  found" if about["cached"] else f"  {about['duration_s']:.2f} s", "dim")
        label.append(f"  {about['result_id'][:12]}", "dim")
    return label


def levelled(loudness: dict[str, Any]) -> str:
    """Loudness and true peak before and after, and what was applied between."""
    before, after = (
        f"{loudness[n]['integrated']:.1f} LUFS {loudness[n]['true_peak']:.1f} dBTP" for n in ("before", "after")
    )
    limiter = "" if loudness["limiter_dbtp"] is None else f" to {loudness['limiter_dbtp']:.1f} dBTP"
    dip = f", {loudness['dip_db']:.1f} dB at peaks" if loudness["dip_db"] else ""
    return f"{before} → {loudness['mode']} {loudness['gain_db']:+.1f} dB{limiter}{dip} → {after}"


def params(found: dict[str, Any]) -> list[str]:
    """The parameters that tell a person what was asked for, as "name=value"."""
    shown = [f"{name}={value}" for name, value in _flat(found)]
    return shown if len(shown) <= MOST_PARAMS else [*shown[:MOST_PARAMS], "…"]


def _flat(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        if name in HIDDEN or value in ("", None, [], {}):
            continue
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield name, ",".join(map(str, value)) if isinstance(value, list) else str(value)


def mermaid(graph: Graph) -> str:
    """A flowchart from left to right."""
    numbers = {node: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for node in graph.nodes.values():
        opening, closing = SHAPES[node.kind]
        lines.append(f"  {numbers[node.id]}{opening}{escaped(_caption(node))}{closing}:::{node.kind}")
    lines += [f"  {numbers[source]} --> {numbers[target]}" for source, target in graph.edges]
    lines += ["  classDef step fill:#eef,stroke:#88a", "  classDef publication fill:#efe,stroke:#8a8"]
    return "\n".join(lines)


def _caption(node: Node) -> str:
    if node.kind == "file":
        return f"{', '.join(node.about['names'])}\n{size(node.about['bytes'])} {node.id[7:15]}"
    if node.kind == "step" and node.about.get("code"):
        return f"{node.label}\n{node.about['code']}"
    return node.label


def escaped(text: str) -> str:
    """Text inside a quoted label: what Mermaid or HTML would read as markup becomes a numbered entity."""
    lines = (re.sub(r"[^\w .,:@+/()=-]", lambda found: f"#{ord(found[0])};", line) for line in text.splitlines())
    return "<br/>".join(lines)
