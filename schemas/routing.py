"""Which model does what: rows of (task, kind, tenant) -> provider, model and vector space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import product
from typing import Any, Self

from pydantic import Field, model_validator

from schemas.base import Model
from schemas.pipelines import Pipeline

ANY = "*"


class Task(StrEnum):
    """What the enrich stage may ask of a model."""

    IMAGE_EMBEDDING = "image_embedding"
    IMAGE_LABELS = "image_labels"
    IMAGE_TEXT_BRIDGE = "image_text_bridge"
    TEXT_EMBEDDING = "text_embedding"
    OCR = "ocr"
    LANGUAGE = "language"
    VOICE_ACTIVITY = "voice_activity"
    TRANSCRIPT = "transcript"
    OBJECTS = "objects"
    FACES = "faces"


class Route(Model):
    """The model of a task, for a kind of asset and a tenant ("*" is any).

    `weights` is the SHA-256 (hex) of the weights (of several files: of their digests, in order), checked when
    they are loaded. A route with a `dimension` makes vectors; `query` is then the task that encodes a query
    for them, and `encoder` is that encoder's own space where the vectors were made to lie among another's.
    """

    task: Task
    kind: str = ANY
    tenant: str = ANY
    provider: str
    model: str
    revision: str
    precision: str
    processor: str
    pooling: str = ""
    weights: str = Field(pattern="^[0-9a-f]{64}$")
    options: dict[str, float] = Field(default_factory=dict)
    dimension: int | None = Field(default=None, gt=0)
    query: Task | None = None
    encoder: str = ""

    @model_validator(mode="after")
    def _vectors_have_a_query(self) -> Self:
        if (self.dimension is None) != (self.query is None):
            raise ValueError(f"{self.task}: a dimension and a query task come together")
        return self

    @property
    def space(self) -> str:
        """The id of the vector space: vectors compare only within one; "" where the task makes no vectors."""
        return space_id(self) if self.dimension else ""

    def params(self) -> dict[str, Any]:
        """What decides the model's answer: the part of the route that belongs in a result id."""
        return self.model_dump(mode="json", exclude={"kind", "tenant", "query"})


def space_id(route: Route) -> str:
    """model@revision/precision/processor/pooling."""
    return f"{route.model}@{route.revision}/{route.precision}/{route.processor}/{route.pooling}"


class Routing(Model):
    """The routes of a profile; a task without a route has no model, and its step is skipped."""

    routes: tuple[Route, ...]

    @model_validator(mode="after")
    def _every_row_once_and_every_space_askable(self) -> Self:
        keys = [(route.task, route.kind, route.tenant) for route in self.routes]
        if len(set(keys)) < len(keys):
            raise ValueError("two routes for the same task, kind and tenant")
        for route in self.routes:
            if route.space and self._encoder(route) is None:
                raise ValueError(f"no encoder for queries of the vector space {route.space}")
        return self

    def lookup(self, task: Task | str, kind: str = ANY, tenant: str = ANY) -> Route | None:
        """The task's route: the tenant's own before "*", then the kind's own before "*"; None without one."""
        rows = {(route.tenant, route.kind): route for route in self.routes if route.task == Task(task)}
        keys = product(dict.fromkeys((tenant, ANY)), dict.fromkeys((kind, ANY)))
        return next((rows[key] for key in keys if key in rows), None)

    def spaces(self, tenant: str = ANY) -> dict[str, Route]:
        """The vector spaces that a tenant's assets have vectors in: id -> a route that makes them."""
        return {route.space: route for route in self.routes if route.space and route.tenant in (tenant, ANY)}

    def encoder_of(self, space: str) -> Route:
        """The one route that may encode a query for a space; KeyError where the profile has no such space."""
        made = next((route for route in self.routes if route.space and route.space == space), None)
        found = self._encoder(made) if made else None
        if found is None:
            raise KeyError(f"no vector space {space!r}")
        return found

    def _encoder(self, made: Route) -> Route | None:
        wanted = (made.query, made.encoder or made.space)
        return next((route for route in self.routes if (route.task, route.space) == wanted), None)


def _lite() -> Iterator[Route]:
    network: dict[str, Any] = {
        "provider": "efficientnet",
        "model": "efficientnet-lite0",
        "revision": "57934424",
        "precision": "int8",
        "processor": "resize256-crop224",
        "weights": "65121bad8e823d9162b3667bd7da957bc47b2e0a72c3adad7948299464f0ecb8",
    }
    text = Route(
        task=Task.TEXT_EMBEDDING,
        provider="minilm",
        model="all-minilm-l6-v2",
        revision="8199be6f",
        precision="int8",
        processor="wordpiece256",
        pooling="mean",
        weights="f87529e193a9b20b1b5ae68902aa2e11eb2323b558f13d3a35b865a1e83a7168",
        dimension=384,
        query=Task.TEXT_EMBEDDING,
    )
    bridge = {
        "model": "efficientnet-lite0+minilm",
        "pooling": "conse5",
        "weights": "0c45ea79b0cf63b188f68e8fbf4c38ab9513e4f83f6f0ecbbc487b483dc41646",
        "options": {"top": 5, "temperature": 1.0},
    }
    yield text
    yield Route(task=Task.IMAGE_EMBEDDING, **network, pooling="avgpool", dimension=1280, query=Task.IMAGE_EMBEDDING)
    yield Route(task=Task.IMAGE_LABELS, **network, options={"top": 5, "least": 0.05})
    yield Route(
        task=Task.IMAGE_TEXT_BRIDGE,
        **network | bridge,
        dimension=384,
        query=Task.TEXT_EMBEDDING,
        encoder=text.space,
    )
    yield Route(
        task=Task.OCR,
        provider="ocr",
        model="pp-ocr",
        revision="v6-small",
        precision="float32",
        processor="rapidocr3-side960",
        weights="d2988765c9ee371238c575e3675f5c74206119dc3a4dd9f4ea78491fb25c2a29",
        options={"least": 0.5},
    )
    yield Route(
        task=Task.LANGUAGE,
        provider="language",
        model="py3langid",
        revision="0.4",
        precision="float32",
        processor="bytes",
        weights="f4f4a2c3465ca1f081541037f9cac23021d68151c2f709c55ae5eedfca522963",
        options={"letters": 20},
    )
    yield Route(
        task=Task.VOICE_ACTIVITY,
        provider="voice",
        model="silero-vad",
        revision="6.2.0",
        precision="float32",
        processor="16khz-512",
        weights="2aa269b785eeb53a82983a20501ddf7c1d9c48e33ab63a41391ac6c9f7fb6987",
        options={"threshold": 0.5},
    )
    yield Route(
        task=Task.TRANSCRIPT,
        provider="whisper",
        model="whisper-tiny.en",
        revision="1a5afae0",
        precision="int8",
        processor="16khz-mel80",
        weights="a3c9e86bd5810109f19275447f78dc378a9494f8b696e91db7ad5f69cf708f50",
        options={"beam": 5},
    )


PROFILES = {"lite": Routing(routes=tuple(_lite()))}


def routings_of(pipelines: Iterable[Pipeline]) -> list[Routing]:
    """The routings that the pipelines' profiles name, where there are such."""
    return [PROFILES[name] for name in sorted({pipeline.profile for pipeline in pipelines} & PROFILES.keys())]
