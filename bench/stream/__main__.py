"""`python -m bench.stream`: measures the flows on the servers of `make services`, and writes bench-stream.json."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from bench.stream import claims, growth, latency, stores, throughput
from bench.stream.events import fill
from bench.stream.place import place
from bench.stream.rows import Row
from chaos import servers

_SPARE = 20_000  # what a side reads beyond what it was to read


@dataclass(frozen=True)
class Sizes:
    """How much each measure takes, in messages, assets or seconds, and how often."""

    partitions: int = 4
    grown: int = 1_000_000
    more: int = 300_000
    intake: int = 600_000
    rounds: int = 3
    shared: int = 300_000
    quix: int = 200_000
    faust: int = 40_000
    claims: int = 500
    claims_rounds: int = 7
    burst: int = 60
    latency_s: float = 30.0
    entries: int = 4_000
    appends: int = 10
    stores_rounds: int = 5


QUICK = Sizes(
    partitions=2, grown=20_000, more=10_000, intake=5_000, rounds=1, shared=4_000, quix=1_000, faust=300, claims=20,
    claims_rounds=1, burst=4, latency_s=1.0, entries=400, appends=1, stores_rounds=1,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Exit code 0 once everything is measured, aims met or not; 1 with a message if a server is not there."""
    options = _options(arguments)
    console = Console(width=None if os.isatty(1) else 140)
    if missing := servers.unanswered():
        raise SystemExit(f"bench: nobody answers for {', '.join(missing)}: make services")
    facts = _facts()
    for name, fact in facts.items():
        console.print(f"{name}: {fact}", highlight=False)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for row in _measured(Path(folder), QUICK if options.quick else Sizes(), options.rivals):
            rows.append(row)
            console.print(f"… {row.measure}: {_figure(row.ours)}, {_figure(row.ratio)}", highlight=False)
    options.out.write_text(json.dumps({**facts, "rows": [asdict(row) | {"met": row.met} for row in rows]}, indent=1))
    console.print(_table(rows))
    console.print(f"written to {options.out}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.stream", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: shows that it works, no more")
    parser.add_argument("--out", type=Path, default=Path("bench-stream.json"), help="where the figures are written")
    parser.add_argument("--rivals", type=Path, default=throughput.RIVALS, help="the Python that has the rivals")
    return parser.parse_args(arguments)


def _measured(folder: Path, sizes: Sizes, rivals: Path) -> Iterator[Row]:
    with place(folder / "intake", sizes.partitions) as settings:
        fill(settings, max(sizes.grown + sizes.more, sizes.intake, sizes.shared, sizes.quix, sizes.faust) + _SPARE)
        yield from throughput.against_raw(settings, sizes.intake, sizes.rounds)
        theirs = {"quix": sizes.quix, "faust": sizes.faust}
        yield from throughput.against_rivals(settings, sizes.shared, theirs, rivals)
        yield from throughput.of_processes(settings, sizes.shared, sizes.rounds)
        yield from growth.rows(settings, sizes.grown, sizes.more)
    with place(folder / "flow", sizes.partitions) as settings:
        yield from latency.rows(settings, sizes.burst, sizes.latency_s)
    with place(folder / "stores", sizes.partitions) as settings:
        yield from claims.rows(settings, sizes.claims, sizes.claims_rounds)
        yield from stores.rows(settings, sizes.entries, sizes.appends, sizes.stores_rounds)


def _facts() -> dict[str, str]:
    """What the figures depend on."""
    memory = psutil.virtual_memory().total / 2**30
    packages = ("bytewax", "confluent-kafka", "weaviate-client", "deltalake", "obstore")
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.machine()}; servers and flows share it",
        "versions": f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages),
    }


def _table(rows: Sequence[Row]) -> Table:
    table = Table("measure", "ours", "against", "ratio", "aim", "", title_justify="left")
    for row in rows:
        against, ratio = (_figure(row.against), f"{row.ratio:.3f}") if row.against else ("", "")
        aim = f"{'at most' if row.most else 'at least'} {row.aim:g}"
        table.add_row(row.measure, _figure(row.ours), against, ratio, aim, "met" if row.met else "MISSED")
    return table


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    main()
