"""Ratios of this engine's speed to other ways to do the same work, measured in one run: `python -m bench`."""
