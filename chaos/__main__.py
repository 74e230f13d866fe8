"""`python -m chaos`: faults on real servers, then an audit; the last line is what was submitted, lost and doubled."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from chaos.audit import Kind
from chaos.cases.broker import broker
from chaos.cases.deletion import deletion
from chaos.cases.disk import disk
from chaos.cases.doubles import doubles
from chaos.cases.kills import kills
from chaos.cases.outages import outages
from chaos.cases.rescale import rescale
from chaos.cases.rolling import rolling
from chaos.trial import Options, Report

CASES: dict[str, Callable[[Options], Report]] = {
    case.__name__: case for case in (kills, outages, broker, disk, doubles, rolling, rescale, deletion)
}
MOST_SHOWN = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if nothing is lost, doubled or wrong, else 1."""
    options = _options(arguments)
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=options.folder))
    print(f"seed {options.seed}, logs and outputs in {folder}", flush=True)
    reports = []
    for name in options.case or CASES:
        print(f"{name}: {CASES[name].__doc__}", flush=True)
        given = Options(
            folder / name, options.seed, options.assets, options.scale, options.index == "weaviate", options.keep
        )
        reports.append(CASES[name](given))
        _show(reports[-1])
    lost, doubled, wrong = (sum(report.count(kind) for report in reports) for kind in Kind)
    if wrong:
        print(f"{wrong} findings are neither lost nor doubled, and wrong all the same")
    print(f"{sum(report.submitted for report in reports)} submitted, {lost} lost, {doubled} doubled")
    return 1 if lost or doubled or wrong else 0


def _show(report: Report) -> None:
    for name, figure in report.figures.items():
        print(f"    {name}: {figure}")
    for finding in report.findings[:MOST_SHOWN]:
        print(f"    {finding.kind}: {finding.subject}: {finding.what}")
    if len(report.findings) > MOST_SHOWN:
        print(f"    and {len(report.findings) - MOST_SHOWN} findings more")
    counts = ", ".join(f"{report.count(kind)} {kind}" for kind in Kind)
    print(f"    {report.submitted} submitted, {counts}", flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this one; may be given again")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--assets", type=int, default=300, help="how many assets a case submits")
    parser.add_argument("--scale", type=float, default=1.0, help="of kills, and of the seconds that a fault lasts")
    parser.add_argument("--index", choices=["weaviate", "lance"], default="weaviate")
    parser.add_argument("--folder", type=Path, help="where the cases' folders are made")
    parser.add_argument("--keep", action="store_true", help="leave topics and buckets, to be looked at")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
