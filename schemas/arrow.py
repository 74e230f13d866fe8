"""Arrow schemas derived from the models: one source for tables, index and batches."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel

_SCALARS = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary()}


def arrow_type(annotation: Any) -> tuple[pa.DataType, bool]:
    """The Arrow type of a field's annotation and whether it may be null. Raises TypeError for what has none."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        (inner,) = (a for a in args if a is not NoneType)
        return arrow_type(inner)[0], NoneType in args
    if origin in (list, tuple):
        return pa.list_(arrow_type(args[0])[0]), False
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return pa.struct(list(arrow_schema(annotation))), False
    if isinstance(annotation, type):
        for base in annotation.__mro__:
            if base in _SCALARS:
                return _SCALARS[base], False
    raise TypeError(f"no Arrow type for {annotation!r}")


def arrow_schema(model: type[BaseModel]) -> pa.Schema:
    """The model's fields, in order, as an Arrow schema."""
    fields = []
    for name, field in model.model_fields.items():
        kind, nullable = arrow_type(field.annotation)
        fields.append(pa.field(name, kind, nullable=nullable))
    return pa.schema(fields)
