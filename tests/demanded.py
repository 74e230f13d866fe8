"""Whether the servers of `make services` have to be there: in CI, and in `make test-all`."""

from __future__ import annotations

import os

DEMANDED = bool(os.environ.get("CI")) or os.environ.get("SERVICES") == "demanded"
