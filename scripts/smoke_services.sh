#!/usr/bin/env bash
# Runs the README's commands on real servers, as a new user would, and fails if one does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
commands=$(awk '/^```bash/ {shown = 1; next} /^```/ {shown = 0} shown' README.md)
echo "$commands"
eval "$commands"
