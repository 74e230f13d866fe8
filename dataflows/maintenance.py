"""What keeps an output folder in order: deletion and verification."""

from __future__ import annotations

from dataflows.deleting import DELETED, delete, is_unfinished
from dataflows.problems import Problem
from dataflows.verifying import VERIFIED, Verified, verify

__all__ = ["DELETED", "VERIFIED", "Problem", "Verified", "delete", "is_unfinished", "verify"]
