"""A Dockerfile's stages, read as far as the project's own needs it: no heredocs, no ONBUILD, no --chown."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Step:
    """One instruction: its word, its options (`--from=x`), and the rest of its line."""

    word: str
    options: dict[str, str]
    text: str


@dataclass(frozen=True)
class Config:
    """What an image says of its processes."""

    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    def filled(self, text: str) -> str:
        """The text with `${NAME}` in place."""
        values = {**self.arguments, **self.environment}
        return _VARIABLE.sub(lambda found: values[found[1]], text)

    def after(self, step: Step, given: dict[str, str]) -> Config:
        """The same after an instruction that changes no files; `given` are the arguments before the first stage."""
        text = step.text
        match step.word:
            case "ARG":
                name, _, value = text.partition("=")
                return replace(self, arguments={**self.arguments, name: value or given[name]})
            case "ENV":
                return replace(self, environment={**self.environment, **self._pairs(text)})
            case "LABEL":
                return replace(self, labels={**self.labels, **self._pairs(text)})
            case "WORKDIR":
                return replace(self, folder=text)
            case "USER":
                return replace(self, user=text)
            case "ENTRYPOINT":
                return replace(self, entrypoint=tuple(json.loads(text)))
            case "CMD":
                return replace(self, command=tuple(json.loads(text)))
        raise ValueError(f"{step.word} is not known here")

    def _pairs(self, text: str) -> dict[str, str]:
        return dict(pair.split("=", 1) for pair in shlex.split(self.filled(text)))


@dataclass(frozen=True)
class Stage:
    """A stage's base, which is another stage or an image, and its instructions."""

    base: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Dockerfile:
    """The arguments before the first stage, and the stages by name, in order."""

    arguments: dict[str, str]
    stages: dict[str, Stage]


def read(path: Path) -> Dockerfile:
    """A Dockerfile."""
    lines = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    name = ""
    for line in re.sub(r"\\\n\s*", " ", lines).splitlines():
        if not line.strip():
            continue
        step = _step(line)
        if step.word == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", step.text).groups()  # type: ignore[union-attr]
            stages[name] = Stage(Config(arguments=arguments).filled(base), ())
        elif name:
            stages[name] = replace(stages[name], steps=(*stages[name].steps, step))
        else:
            key, _, value = step.text.partition("=")
            arguments[key] = value
    return Dockerfile(arguments, stages)


def _step(line: str) -> Step:
    word, text = line.split(None, 1)
    options = {}
    while found := re.match(r"--(\w+)=(\S+)\s+", text):
        options[found[1]] = found[2]
        text = text[found.end() :]
    return Step(word, options, text.strip())
