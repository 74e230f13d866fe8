const traceLineage = (card) => {
  const picture = card.querySelector(".lineage svg");
  if (!picture) return;
  const nodes = new Map([...picture.querySelectorAll(".node")].map((node) => [node.dataset.id, node]));
  const edges = [...picture.querySelectorAll(".edge")];

  const walk = (start, from, to, hot) => {
    const [waiting, seen] = [[start], new Set([start])];
    while (waiting.length) {
      const id = waiting.pop();
      for (const edge of edges) {
        if (edge.dataset[from] !== id) continue;
        hot.add(edge);
        if (!seen.has(edge.dataset[to])) {
          seen.add(edge.dataset[to]);
          waiting.push(edge.dataset[to]);
        }
      }
    }
    seen.forEach((id) => hot.add(nodes.get(id)));
  };

  const trace = (id) => {
    const hot = new Set();
    walk(id, "from", "to", hot);
    walk(id, "to", "from", hot);
    picture.classList.add("traced");
    [...nodes.values(), ...edges].forEach((element) => element.classList.toggle("hot", hot.has(element)));
  };
  const rest = () => picture.classList.remove("traced");

  for (const [id, node] of nodes) {
    node.addEventListener("pointerenter", () => trace(id));
    node.addEventListener("focus", () => trace(id));
    node.addEventListener("pointerleave", rest);
    node.addEventListener("blur", rest);
  }
};
