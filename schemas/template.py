"""The manifest of a template whose engine is not ours: `template.json` in a zip archive beside the files it lists."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.base import Model

Scalar = str | int | float | bool
# no part of a path begins with a dot, so none leads out of the archive
_PATH = r"^([^/\\.\x00-\x1f][^/\\\x00-\x1f]*/)*[^/\\.\x00-\x1f][^/\\\x00-\x1f]*$"


class TemplateParameter(Model):
    """What a user of the template can set: its name, type and default, and the values allowed where they are few."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,99}$")
    type: Literal["text", "number", "boolean", "colour", "image", "video", "audio", "font"]
    label: str = Field(default="", max_length=200)
    default: Scalar | None = None
    choices: tuple[Scalar, ...] = Field(default=(), max_length=100)


class TemplateFile(Model):
    """A file of the template: its path within the archive, and its SHA-256 in hex."""

    path: str = Field(pattern=_PATH, max_length=240)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class TemplatePreview(Model):
    """How the template looks, by paths of its own files: a picture, and a clip if there is one."""

    picture: str
    clip: str | None = None


class TemplateManifest(Model):
    """A template for another program, with the files that it is made of and its own previews."""

    format: Literal["asset-pipeline/template/1"]
    name: str = Field(min_length=1, max_length=200)
    kind: str = Field(pattern=r"^[a-z][a-z0-9-]{0,49}$")
    engine: str = Field(min_length=1, max_length=100)
    version: str = Field(min_length=1, max_length=50)
    description: str = Field(default="", max_length=5000)
    keywords: tuple[str, ...] = Field(default=(), max_length=100)
    parameters: tuple[TemplateParameter, ...] = Field(default=(), max_length=500)
    preview: TemplatePreview
    files: tuple[TemplateFile, ...] = Field(min_length=1, max_length=10_000)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        paths = [file.path for file in self.files]
        names = [parameter.name for parameter in self.parameters]
        if len(set(paths)) < len(paths) or len(set(names)) < len(names):
            raise ValueError("two files or two parameters have one name")
        missing = {self.preview.picture, self.preview.clip} - {None, *paths}
        if missing:
            raise ValueError(f"previews that are not among its files: {', '.join(map(str, missing))}")
        return self
