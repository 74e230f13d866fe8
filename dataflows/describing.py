"""What this installation does: its stages, settings, pipelines, models, channels and codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from dataflows.connections import channels_of
from dataflows.output import Output
from operators.models import registry
from operators.stages import (
    audios,
    chapters,
    chunks,
    covers,
    dead_letter,
    derive,
    documents,
    enrich,
    images,
    ingest,
    ladders,
    publish,
    register,
    subtitles,
    tasks,
    validate,
    videos,
)
from schemas.errors import CODES
from schemas.routing import PROFILES
from schemas.settings import Settings

# stage -> its module, then those of its steps
STAGES: dict[str, Sequence[ModuleType]] = {
    "ingest": (ingest,),
    "validate": (validate,),
    "derive": (derive, videos, chunks, ladders, subtitles, audios, chapters, images, documents),
    "preview": (derive, videos, audios, covers, images, documents),
    "enrich": (enrich, tasks),
    "register": (register,),
    "publish": (publish,),
    "dead_letter": (dead_letter,),
}
COLUMNS = {
    "stage": ["stage", "versions", "does"],
    "setting": ["setting", "value", "default", "variable"],
    "pipeline": ["pipeline", "fingerprint", "profile", "original", "channels", "params"],
    "model": ["task", "kind", "tenant", "model", "revision", "precision", "dimension", "space", "available"],
    "channel": ["channel", "does"],
    "code": ["code", "state", "transient", "sentence"],
}


def show(settings: Settings, output: Output) -> None:
    """Prints a table for each sort of thing, or one object a line, whose `type` says which it is."""
    objects = list(described(settings))
    if not output.as_json:
        objects = [found | {"params": flat(found["params"])} if "params" in found else found for found in objects]
    for sort, columns in COLUMNS.items():
        output.rows([found for found in objects if found["type"] == sort], columns, title=f"{sort}s")


def described(settings: Settings) -> Iterator[dict[str, Any]]:
    """An object for each thing."""
    for name, modules in STAGES.items():
        yield {"type": "stage", "stage": name, "does": _first_line(modules[0]), "versions": versions(modules)}
    yield from _settings(settings)
    yield from _pipelines(settings)
    for profile in PROFILES:
        yield from _models(profile)
    for name, channel in channels_of(settings).items():
        yield {"type": "channel", "channel": name, "does": _first_line(type(channel))}
    for name, code in CODES.items():
        yield {"type": "code", "code": name, **code._asdict()}


def flat(params: dict[str, Any], prefix: str = "") -> list[str]:
    """Nested parameters as lines, "video.chunk_s = 5.0"."""
    lines = []
    for name, value in params.items():
        lines += flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name} = {value}"]
    return lines


def versions(modules: Sequence[ModuleType]) -> str:
    """The versions of a stage's steps, by the modules that have one; a raised version makes results anew."""
    found = {module.__name__.rpartition(".")[2]: module.VERSION for module in modules if hasattr(module, "VERSION")}
    return " ".join(f"{name} {version}" for name, version in found.items())


def _first_line(described: Any) -> str:
    return str(described.__doc__).strip().splitlines()[0]


def _settings(settings: Settings) -> Iterator[dict[str, Any]]:
    prefix = str(Settings.model_config.get("env_prefix", ""))
    values = settings.model_dump(mode="json")
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = (
            default if isinstance(default, str | int | float | None) else [*default] if _many(default) else str(default)
        )
        yield {
            "type": "setting",
            "setting": name,
            "value": values[name],
            "default": shown,
            "variable": f"{prefix}{name.upper()}",
        }


def _many(value: Any) -> bool:
    return isinstance(value, tuple | list)


def _pipelines(settings: Settings) -> Iterator[dict[str, Any]]:
    apart = {"name", "profile", "original", "channels"}
    for name, pipeline in settings.pipelines().items():
        fields = pipeline.model_dump(mode="json")
        yield {
            "type": "pipeline",
            "pipeline": name,
            "fingerprint": pipeline.fingerprint,
            **{key: fields[key] for key in ("profile", "original", "channels")},
            "params": {key: value for key, value in fields.items() if key not in apart},
        }


def _models(profile: str) -> Iterator[dict[str, Any]]:
    for route in PROFILES[profile].routes:
        fields = route.model_dump(mode="json")
        yield {
            "type": "model",
            "profile": profile,
            **fields,
            "space": route.space,
            "available": registry.available(route),
        }
