"""`python -m dataflows.catalogue`: writes METRICS.md, the list of all metrics, from their declarations."""

from __future__ import annotations

from pathlib import Path

from schemas import metrics

FILE = Path(__file__).parent.parent / "METRICS.md"
_HEAD = """# Metrics

Every process of a flow serves these at `/metrics` (`ASSET_PIPELINE_HTTP`), beside those of the Python process itself.
Counters start at 0 with the process. Child processes have no metrics of their own: what they do is counted where it
was asked for. Labels are bounded: never an asset's id; `tenant` is empty unless `ASSET_PIPELINE_METRICS_BY_TENANT` is
set. `python -m dataflows.catalogue` writes this file.

| metric | type | labels | what it says |
|---|---|---|---|
"""


def text() -> str:
    """The whole file."""
    rows = (
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {says} |\n"
        for name, kind, says, labels in metrics.catalogue()
    )
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    FILE.write_text(text())
