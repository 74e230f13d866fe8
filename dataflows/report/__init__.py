"""The run's report: one self-contained HTML page with every asset's previews, text, steps and lineage."""

from __future__ import annotations

from dataflows.report.endings import Ending, EndingStep
from dataflows.report.render import write_report

__all__ = ["Ending", "EndingStep", "write_report"]
