"""Templates with a manifest (`schemas.template`): checked file by file, shown by the previews that they carry."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import ValidationError

from operators.media.packages import Package, opened_package
from schemas.errors import AssetError
from schemas.technical import Template
from schemas.template import TemplateManifest

MANIFEST = "template.json"
_MOST_MANIFEST = 4 * 2**20


def read_template(path: Path) -> Template:
    """What the manifest says, once every file that it lists is there; digests are for `check_template`.

    Raises corrupt_template, truncated, unpacks_too_large.
    """
    with opened_package(path, "corrupt_template") as package:
        manifest = _manifest(package)
    return Template(
        format="manifest", name=manifest.name, description=manifest.description or None, keywords=manifest.keywords,
        kind=manifest.kind, engine=manifest.engine, version=manifest.version,
        parameters=tuple(parameter.name for parameter in manifest.parameters),
    )  # fmt: skip


def _manifest(package: Package) -> TemplateManifest:
    data = package.read(MANIFEST)
    if len(data) > _MOST_MANIFEST:
        raise AssetError("corrupt_template", f"a manifest of {len(data)} bytes")
    try:
        manifest = TemplateManifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise AssetError("corrupt_template", f"{MANIFEST}: {where}: {first['msg']}"[:300]) from error
    listed = {file.path for file in manifest.files}
    there = {name for name in package.names if not name.endswith("/")} - {MANIFEST}
    if listed != there:
        name = min(listed ^ there)
        raise AssetError("corrupt_template", f"{name[:100]!r} is {'missing' if name in listed else 'not listed'}")
    return manifest


def check_template(path: Path) -> int:
    """Compares every file with its digest; how many there are. Raises as `read_template` does."""
    with opened_package(path, "corrupt_template") as package:
        manifest = _manifest(package)
        for file in manifest.files:
            if hashlib.sha256(package.read(file.path)).hexdigest() != file.sha256:
                raise AssetError("corrupt_template", f"{file.path[:100]!r} is not what its digest says")
    return len(manifest.files)


def previews(path: Path, folder: Path) -> tuple[Path, Path | None]:
    """Writes the previews as `picture` and `clip` below `folder`; neither has been looked at."""
    with opened_package(path, "corrupt_template") as package:
        preview = _manifest(package).preview
        picture, clip = folder / "picture", folder / "clip"
        picture.write_bytes(package.read(preview.picture))
        if preview.clip is None:
            return picture, None
        clip.write_bytes(package.read(preview.clip))
    return picture, clip
