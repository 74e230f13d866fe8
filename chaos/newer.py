"""The flow `derive` with a newer version of what makes an image's files: `python -m bytewax.run chaos.newer:flow`."""

from __future__ import annotations

from operators.stages import images

OLD, NEW = images.VERSION, "newer"
images.VERSION = NEW  # before the flow is built

from dataflows.derive import flow  # noqa: E402

__all__ = ["NEW", "OLD", "flow"]
