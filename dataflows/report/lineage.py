"""An asset's lineage as a picture: layers from left to right, the original first, channels last."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

from schemas.manifest import Edge, Manifest

ROW, GAP, COLUMN_GAP, MARGIN, HEIGHT = 28, 10, 52, 12, 28
LETTER, LONGEST, MANY = 6.9, 30, 4


@dataclass
class Node:
    """A box, or without a `label` a bend of an edge that spans layers; `x`, `y` is the top left, pixels."""

    id: str
    label: str
    what: str
    full: str = ""
    layer: int = 0
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0

    @property
    def middle(self) -> float:
        """Vertical centre, pixels."""
        return self.y + HEIGHT / 2


@dataclass
class Drawing:
    """Boxes, and edges as (from id, to id, SVG path data), in a picture of `width` by `height` pixels."""

    nodes: list[Node]
    edges: list[tuple[str, str, str]]
    width: float
    height: float


@dataclass
class Graph:
    """Nodes by id, and edges by id without doubles."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[tuple[str, str], None] = field(default_factory=dict)

    def add(self, node: Node) -> str:
        """Adds the node unless it is there; returns its id."""
        self.nodes.setdefault(node.id, node)
        return node.id


def draw(manifest: Manifest) -> Drawing | None:
    """The manifest's lineage laid out; None where it has none."""
    if not manifest.lineage:
        return None
    graph = _merged(_graph(manifest))
    _layers(graph)
    chains = _bend(graph)
    columns = _ordered(graph)
    _place(graph, columns)
    boxes = [n for n in graph.nodes.values() if n.label]
    edges = [(chain[0], chain[-1], _path([graph.nodes[i] for i in chain])) for chain in chains]
    width = max(n.x + n.width for n in boxes) + MARGIN
    return Drawing(boxes, edges, width, max(n.y for n in boxes) + HEIGHT + MARGIN)


def _graph(manifest: Manifest) -> Graph:
    graph, names = Graph(), _names(manifest)
    for edge in manifest.lineage:
        step = f"{edge.stage}.{edge.step} {edge.result_id}"
        graph.add(_thing(edge.source, names, manifest))
        graph.add(Node(step, f"{edge.stage}.{edge.step}", "step", f"{edge.stage}.{edge.step} {edge.version}"))
        graph.edges[edge.source, step] = None
        if edge.target and edge.target != edge.source:
            graph.add(_thing(edge.target, names, manifest))
            graph.edges[step, edge.target] = None
    return graph


def _names(manifest: Manifest) -> dict[str, str]:
    names = {f"sha256:{manifest.original.sha256}": manifest.record.request.source.name}
    for variant in manifest.variants:
        names.setdefault(f"sha256:{variant.sha256}", variant.name)
    for edge in manifest.lineage:
        names.setdefault(edge.target, _target_name(edge))
    return names


def _target_name(edge: Edge) -> str:
    return edge.target_name or (edge.target if ":" in edge.target else "")


def _thing(address: str, names: dict[str, str], manifest: Manifest) -> Node:
    what = "file" if address.startswith("sha256:") else "asset" if address.startswith("asset:") else "channel"
    if address == f"sha256:{manifest.original.sha256}":
        what = "original"
    if address == f"asset:{manifest.asset_id}":
        return Node(address, "this asset", what, address)
    label = names.get(address) or (address if what == "channel" else address[:19] + "…")
    return Node(address, label, what, f"{label} {address}" if label != address else address)


def _merged(graph: Graph) -> Graph:
    """Files that differ in their number only (pages, chunks) become one box where they are many."""
    groups: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for node in graph.nodes.values():
        if node.what == "file":
            sources = frozenset(a for a, b in graph.edges if b == node.id)
            targets = frozenset(b for a, b in graph.edges if a == node.id)
            groups[re.sub(r"\d+", "#", node.label), sources, targets].append(node.id)
    for members in groups.values():
        if len(members) >= MANY:
            _merge(graph, sorted(members, key=lambda i: graph.nodes[i].label))
    return graph


def _merge(graph: Graph, members: list[str]) -> None:
    first, last = graph.nodes[members[0]], graph.nodes[members[-1]]
    first.label, first.full = f"{first.label} … {last.label} ({len(members)})", f"{len(members)} files"
    gone = set(members[1:])
    graph.nodes = {i: n for i, n in graph.nodes.items() if i not in gone}
    graph.edges = {e: None for e in graph.edges if not gone & set(e)}


def _layers(graph: Graph) -> None:
    """Longest path from a source; a cycle, which no true lineage has, ends after as many rounds as nodes."""
    for _ in range(len(graph.nodes)):
        late = [(a, b) for a, b in graph.edges if graph.nodes[b].layer <= graph.nodes[a].layer]
        if not late:
            return
        for a, b in late:
            graph.nodes[b].layer = min(graph.nodes[a].layer + 1, len(graph.nodes))


def _bend(graph: Graph) -> list[list[str]]:
    """Each edge as a chain of nodes one layer apart, with bends in between, so that it runs around boxes."""
    chains: list[list[str]] = []
    links: dict[tuple[str, str], None] = {}
    for a, b in graph.edges:
        chain = [a]
        for layer in range(graph.nodes[a].layer + 1, graph.nodes[b].layer):
            bend = graph.add(Node(f"{a}>{b}>{layer}", "", "bend", layer=layer))
            links[chain[-1], bend] = None
            chain.append(bend)
        links[chain[-1], b] = None
        chains.append([*chain, b])
    graph.edges = links
    return chains


def _neighbours(graph: Graph) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    before, after = defaultdict(list), defaultdict(list)
    for a, b in graph.edges:
        after[a].append(b)
        before[b].append(a)
    return before, after


def _ordered(graph: Graph) -> list[list[Node]]:
    """Nodes by layer, each layer by the mean place of its neighbours, swept there and back."""
    columns: dict[int, list[Node]] = defaultdict(list)
    for node in graph.nodes.values():
        columns[node.layer].append(node)
    ordered = [columns[layer] for layer in sorted(columns)]
    sides = _neighbours(graph)
    place = {n.id: float(i) for column in ordered for i, n in enumerate(column)}
    for sweep in range(8):
        for column in ordered if sweep % 2 == 0 else reversed(ordered):
            near = sides[sweep % 2]
            column.sort(key=lambda n: _mean([place[i] for i in near[n.id]], place[n.id]))
            place |= {n.id: float(i) for i, n in enumerate(column)}
    return ordered


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _place(graph: Graph, columns: list[list[Node]]) -> None:
    x = float(MARGIN)
    for column in columns:
        width = max(min(len(n.label), LONGEST) * LETTER + 24 for n in column)
        for at, node in enumerate(column):
            node.x, node.y, node.width = x, float(at * (ROW + GAP)), width
        x += width + COLUMN_GAP
    sides = _neighbours(graph)
    for sweep in range(12):
        for column in columns if sweep % 2 == 0 else columns[::-1]:
            _align(graph, column, sides[sweep % 2])
    top = min(n.y for n in graph.nodes.values())
    for node in graph.nodes.values():
        node.y += MARGIN - top


def _align(graph: Graph, column: list[Node], near: dict[str, list[str]]) -> None:
    """Each node as near to the mean of its neighbours as order and spacing allow."""
    wanted = [_mean([graph.nodes[i].y for i in near[n.id]], n.y) for n in column]
    above: Node | None = None
    for node, y in zip(column, wanted, strict=True):
        node.y = y if above is None else max(y, above.y + _apart(above, node))
        above = node
    shift = _mean([w - n.y for n, w in zip(column, wanted, strict=True)], 0.0)
    for node in column:
        node.y += shift


def _apart(above: Node, below: Node) -> float:
    return {2: ROW + GAP, 1: 0.8 * ROW, 0: 0.4 * ROW}[bool(above.label) + bool(below.label)]


def _path(chain: list[Node]) -> str:
    """A smooth curve through the chain; it leaves a box at its right and enters at its left."""
    start = chain[0]
    parts = [f"M{start.x + start.width:.1f} {start.middle:.1f}"]
    x, y = start.x + start.width, start.middle
    for node in chain[1:]:
        half = (node.x - x) / 2
        y, before = node.middle, y
        parts.append(f"C{x + half:.1f} {before:.1f} {x + half:.1f} {y:.1f} {node.x:.1f} {y:.1f}")
        x = node.x + (0 if node.label else node.width)
        parts.append(f"H{x:.1f}")
    return "".join(parts)
