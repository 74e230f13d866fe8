"""A stand-in for kubectl that knows only `get` and `patch`: on the files of a `LocalCluster`, its first argument."""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Object = dict[str, Any]
_KINDS = {"statefulset": "statefulsets", "statefulsets": "statefulsets", "pods": "pods"}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One reads or writes at a time."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def objects(folder: Path, kind: str) -> Iterator[tuple[Path, Object]]:
    """The files of a kind, and what is in them."""
    for path in sorted((folder / kind).glob("*.json")):
        yield path, json.loads(path.read_text())


def merged(found: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    made = dict(found) if isinstance(found, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key), value)
    return made


def get(folder: Path, kind: str, selector: str) -> Object:
    """The objects whose labels are those of the selector, as a list."""
    wanted = dict(pair.split("=") for pair in selector.split(",")).items()
    found = [made for _path, made in objects(folder, kind) if wanted <= made["metadata"]["labels"].items()]
    return {"kind": "List", "items": found}


def patch(folder: Path, kind: str, name: str, change: Object) -> None:
    """Changes an object; a new generation, which its controller has yet to see."""
    path = folder / kind / f"{name}.json"
    if not path.exists():
        sys.exit(f'Error from server (NotFound): {kind} "{name}" not found')
    made = merged(json.loads(path.read_text()), change)
    made["metadata"]["generation"] += 1
    path.write_text(json.dumps(made))


def main() -> None:
    """The command line, as far as it is used."""
    folder = Path(sys.argv[1])
    parser = argparse.ArgumentParser(prog="kubectl", allow_abbrev=False)
    parser.add_argument("-n", "--namespace")
    verbs = parser.add_subparsers(dest="verb", required=True)
    getting, patching = verbs.add_parser("get"), verbs.add_parser("patch")
    for verb in (getting, patching):
        verb.add_argument("kind", choices=_KINDS)
    getting.add_argument("--selector", required=True)
    getting.add_argument("-o", choices=["json"], required=True)
    patching.add_argument("name")
    patching.add_argument("--type", choices=["merge"], required=True)
    patching.add_argument("--patch", type=json.loads, required=True)
    given = parser.parse_args(sys.argv[2:])
    with locked(folder):
        if given.namespace != (folder / "namespace").read_text():
            sys.exit(f'Error from server (NotFound): namespaces "{given.namespace}" not found')
        if given.verb == "get":
            print(json.dumps(get(folder, _KINDS[given.kind], given.selector)))
        else:
            patch(folder, _KINDS[given.kind], given.name, given.patch)


if __name__ == "__main__":
    main()
