"""Arrow schemas derived from the models: one source for tables, index and batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel
from pydantic_core import from_json, to_json

# a column of text that is JSON
JSON: Final = {b"encoding": b"json"}
_SCALARS = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary()}


def arrow_type(annotation: Any) -> tuple[pa.DataType, bool]:
    """The Arrow type of a field's annotation and whether it may be null. Raises TypeError for what has none.

    Models are structs, tuples lists, enumerations and literals their values' type, texts by name a map.
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        (inner,) = (a for a in args if a is not NoneType)
        return arrow_type(inner)[0], NoneType in args
    if origin in (list, tuple):
        return pa.list_(arrow_type(args[0])[0]), False
    if origin is Literal:
        return arrow_type(type(args[0]))
    if annotation == dict[str, str]:
        return pa.map_(pa.string(), pa.string()), False
    return _plain_type(annotation), False


def _plain_type(annotation: Any) -> pa.DataType:
    if isinstance(annotation, type):
        if issubclass(annotation, BaseModel):
            return pa.struct(list(arrow_schema(annotation)))
        for base in annotation.__mro__:
            if base in _SCALARS:
                return _SCALARS[base]
    raise TypeError(f"no Arrow type for {annotation!r}")


def arrow_field(name: str, annotation: Any) -> pa.Field:
    """A field of this annotation. Values of any kind by name are JSON text, marked so in the field's metadata."""
    if annotation == dict[str, Any]:
        return pa.field(name, pa.string(), nullable=False, metadata=JSON)
    kind, nullable = arrow_type(annotation)
    return pa.field(name, kind, nullable=nullable)


def arrow_schema(model: type[BaseModel]) -> pa.Schema:
    """The model's fields, in order, as an Arrow schema."""
    return pa.schema([arrow_field(name, field.annotation) for name, field in model.model_fields.items()])


def batch_of(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Dumped models as a record batch of their schema. Raises what Arrow does for values that are not of it."""
    written = _written(pa.struct(list(schema)))
    return pa.RecordBatch.from_pylist([written(row) for row in rows] if written else rows, schema=schema)


def _written(kind: pa.DataType) -> Callable[[Any], Any] | None:
    """What writes the JSON columns within values of this type as text; None where it has none."""
    if pa.types.is_list(kind):
        inner = _written(kind.value_type)
        return (lambda items: [inner(item) for item in items]) if inner else None
    if not pa.types.is_struct(kind):
        return None
    fields = {f.name: _json_text if f.metadata == JSON else _written(f.type) for f in kind}
    found = [(name, convert) for name, convert in fields.items() if convert]
    return (lambda row: row and {**row, **{name: convert(row[name]) for name, convert in found}}) if found else None


def _json_text(value: dict[str, Any]) -> str:
    return to_json(value, inf_nan_mode="null").decode()


def rows_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a record batch as dumped models. Raises what Arrow does, or ValueError, for a damaged one."""
    batch.validate(full=True)  # lengths and offsets are trusted from here on
    return _values(pa.field("", pa.struct(list(batch.schema))), batch.to_struct_array())


def _values(field: pa.Field, array: pa.Array) -> list[Any]:
    # by columns, since Arrow's own `to_pylist` of nested rows takes four times as long
    kind = field.type
    if pa.types.is_struct(kind):
        columns = [_values(child, array.field(i)) for i, child in enumerate(kind)]
        names = [child.name for child in kind]
        return _with_nulls(array, [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)])
    if pa.types.is_list(kind):
        return _with_nulls(array, _slices(array, _values(kind.value_field, array.values)))
    if pa.types.is_map(kind):
        pairs = list(zip(array.keys.to_pylist(), array.items.to_pylist(), strict=True))
        return _with_nulls(array, [dict(items) for items in _slices(array, pairs)])
    if array.null_count and not pa.types.is_string(kind):
        return array.to_pylist()
    values = array.to_numpy(zero_copy_only=False).tolist()
    return [text and from_json(text) for text in values] if field.metadata == JSON else values


def _slices(array: pa.Array, values: list[Any]) -> list[list[Any]]:
    return [values[start:end] for start, end in pairwise(array.offsets.to_pylist())]


def _with_nulls(array: pa.Array, values: list[Any]) -> list[Any]:
    if not array.null_count:
        return values
    return [value if valid else None for value, valid in zip(values, array.is_valid().to_pylist(), strict=True)]
