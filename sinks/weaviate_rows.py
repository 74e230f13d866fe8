"""What the objects of the served index look like: names, properties, filters, and entries as objects and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from weaviate.classes.config import Configure, DataType, Property, StopwordsPreset, Tokenization, VectorDistances
from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter as By
from weaviate.collections.classes.filters import FilterReturn as Condition

from schemas.ports import Filter, Hit, IndexEntry
from sinks.weaviate_client import VectorIndexType
from sinks.words import terms

ASSETS, MOMENTS = KINDS = ("Assets", "Moments")
HIT = [name for name in Hit.model_fields if name != "score"]

_VECTOR = re.compile(r"d(\d+)_(.+)")
_LONGEST_VECTOR_NAME = 230


def kind_of(entry: IndexEntry) -> str:
    """The collection of an entry: of whole assets, or of moments in them."""
    return ASSETS if entry.start_s is None and entry.page is None else MOMENTS


def vector_name(space: str, dimension: int) -> str:
    """Reversible: `d`, the dimension, and the space's id, in which every other byte than a letter or digit is `_xx`."""
    escaped = re.sub(rb"[^A-Za-z0-9]", lambda match: b"_%02x" % match[0][0], space.encode()).decode()
    name = f"d{dimension}_{escaped}"
    if not space or len(name) > _LONGEST_VECTOR_NAME:
        raise ValueError(f"a vector space's id of {len(space)} characters")
    return name


def spaces_of(names: Iterable[str]) -> dict[str, int]:
    """The dimension of each vector space that these vectors are named by."""
    found = [match for match in map(_VECTOR.fullmatch, names) if match]
    return {unquote(match[2].replace("_", "%")): int(match[1]) for match in found}


def collection_config() -> dict[str, Any]:
    """How a collection is created: multi-tenant, with terms for full-text search, and no vector space yet."""
    index = Configure.VectorIndex
    return {
        "properties": _properties(),
        "multi_tenancy_config": Configure.multi_tenancy(
            enabled=True, auto_tenant_creation=True, auto_tenant_activation=True
        ),
        "inverted_index_config": Configure.inverted_index(stopwords_preset=StopwordsPreset.NONE),
        # the vector without a name, which every collection has; an index that is skipped costs nothing
        "vector_config": Configure.Vectors.self_provided(vector_index_config=index.none()),
    }


def vector_config(name: str, kind: VectorIndexType) -> Any:
    """A vector space's own vector: given by us, compared by cosine, kept as it is."""
    index: Any = Configure.VectorIndex
    make = {"flat": index.flat, "hnsw": index.hnsw}[kind]
    whole = make(distance_metric=VectorDistances.COSINE, quantizer=index.Quantizer.none())
    return Configure.Vectors.self_provided(name=name, vector_index_config=whole)


def _properties() -> list[Property]:
    exact: dict[str, Any] = {"tokenization": Tokenization.FIELD, "index_searchable": False}
    filters = ("asset_id", "tenant", "kind", "language", "space")
    return [
        *(Property(name=n, data_type=DataType.TEXT, **exact) for n in filters),
        Property(name="tags", data_type=DataType.TEXT_ARRAY, **exact),
        *(
            Property(name=n, data_type=DataType.TEXT, index_filterable=False, index_searchable=False)
            for n in ("moment", "title", "text")
        ),
        *(Property(name=n, data_type=DataType.NUMBER, index_filterable=False) for n in ("start_s", "end_s")),
        Property(name="page", data_type=DataType.INT, index_filterable=False),
        Property(
            name="words", data_type=DataType.TEXT, tokenization=Tokenization.WHITESPACE, index_filterable=False,
            index_searchable=True,
        ),
    ]  # fmt: skip


def object_of(entry: IndexEntry, space: str, vector: str) -> DataObject[Any, None]:
    """An entry as it is stored, under its own id; `words` holds the terms, with a space between them."""
    properties: dict[str, Any] = {
        name: value for name, value in vars(entry).items() if name not in ("id", "vector", "tags") and value is not None
    }
    properties |= {"tags": list(entry.tags), "space": space, "words": " ".join(terms(entry.words))}
    return DataObject(uuid=entry.id, properties=properties, vector={vector: list(entry.vector)})


def hit(properties: Mapping[str, Any], score: float) -> Hit:
    """The result that an object is; the server leaves out what is empty."""
    known = {name: properties[name] for name in HIT if properties.get(name) is not None}
    return Hit(**{"text": "", "title": "", "moment": "", **known, "score": score})


def of_asset(asset_id: str, tenant: str) -> Condition:
    """The objects of an organisation's asset."""
    return By.by_property("asset_id").equal(asset_id) & By.by_property("tenant").equal(tenant)


def conditions(only: Filter, shared_by: str = "") -> Condition | None:
    """What a filter lets through, of one organisation only where a tenant is shared."""
    found = [By.by_property("tags").contains_all(list(only.tags))] if only.tags else []
    if only.kinds:
        found.append(By.by_property("kind").contains_any(list(only.kinds)))
    if only.language:
        found.append(By.by_property("language").equal(only.language))
    if shared_by:
        found.append(By.by_property("tenant").equal(shared_by))
    return By.all_of(found) if found else None
