"""Every kind of complaint that the models can raise has a sentence of its own.

The kinds are not listed by hand: they are read off the validators that the library has built from the models, so that
a new field of a new type fails here until somebody has written its sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from connectors.configuration.explain import SENTENCES
from edge_agent.config.models import AgentConfig
from edge_agent.drivers import built_in_drivers

MODELS: list[type[BaseModel]] = [AgentConfig, *(driver.settings for driver in built_in_drivers().values())]

# What a validator in strict mode can say, by its type; the bounds come on top.
OWN_KINDS: dict[str, set[str]] = {
    "str": {"string_type"},
    "int": {"int_type"},
    "float": {"float_type", "finite_number"},
    "bool": {"bool_type"},
    "literal": {"literal_error"},
    "tuple": {"tuple_type"},
    "dict": {"dict_type"},
    "any": set(),
    "model": {"model_type"},
    "model-fields": {"missing", "extra_forbidden"},
    "function-before": {"value_error"},
    "function-after": {"value_error"},
    "nullable": set(),
    "model-field": set(),
    "default": set(),
    "definitions": set(),
    "definition-ref": set(),
}
BOUNDS = {"gt": "greater_than", "ge": "greater_than_equal", "lt": "less_than", "le": "less_than_equal"}
LENGTHS = {
    "str": ("string_too_short", "string_too_long"),
    "tuple": ("too_short", "too_long"),
    "dict": ("too_short", "too_long"),
}
TREATED_IN_EXPLAIN = {"missing", "extra_forbidden", "default_factory_not_called"}


def kinds_of(schema: dict[str, Any]) -> Iterator[str]:
    """The kinds of complaint that a validator and all inside of it can raise."""
    kind = schema["type"]
    if kind in ("dataclass", "enum"):
        return  # the reader in front of it, or of each reference to it, has made it
    yield from OWN_KINDS[kind]
    if kind == "default" and schema.get("default_factory_takes_data"):
        yield "default_factory_not_called"
    check = schema.get("function", {}).get("function")
    bounds = check.keywords if isinstance(check, partial) else schema  # on top of a reader, a bound is a function
    for bound, complaint in BOUNDS.items():
        if bound in bounds:
            yield complaint
    for bound, complaint in zip(("min_length", "max_length"), LENGTHS.get(kind, ()), strict=False):
        if bound in schema:
            yield complaint
    inside: list[dict[str, Any]] = [*schema.get("items_schema", ()), *schema.get("definitions", ())]
    if kind == "dict":
        inside += [schema["keys_schema"], schema["values_schema"]]
    if kind == "model-fields":
        inside += schema["fields"].values()
    elif "schema" in schema:
        inside.append(schema["schema"])
    for part in inside:
        # A reader in front of it has made the value already (a path, a secret, a data type): nothing is left to say.
        if kind == "function-before" and plain(part)["type"] not in ("float", "int", "literal", "str"):
            continue
        yield from kinds_of(part)


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    model.model_rebuild()  # it is made when it is first used
    return dict(model.__pydantic_core_schema__)


def plain(schema: dict[str, Any]) -> dict[str, Any]:
    return plain(schema["schema"]) if schema["type"] == "nullable" else schema


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_kind_has_a_sentence(model: type[BaseModel]) -> None:
    kinds = set(kinds_of(schema_of(model)))
    assert kinds >= {"missing", "extra_forbidden", "string_type", "value_error"}
    assert kinds - TREATED_IN_EXPLAIN - set(SENTENCES) == set()


def test_every_sentence_is_needed() -> None:
    kinds = {kind for model in MODELS for kind in kinds_of(schema_of(model))}
    of_other_drivers = {"less_than"}
    assert set(SENTENCES) | TREATED_IN_EXPLAIN == kinds | of_other_drivers
