"""The base of every settings class: frozen, unknown keys refused, every error one line.

Each stage declares one subclass at the top of its module; every field has a description with its unit
and range. The config block of a stage is exactly this class, so a rule and a hand-typed command read the same.
"""

from __future__ import annotations

import re
import reprlib
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from boldtable.errors import InputError, SettingsError, nearest, shortened
from boldtable.reading.bounded import read_text
from boldtable.safe_yaml import LONGEST, parse_yaml

_MOST = 5  # errors that are told
_repr = reprlib.Repr()  # the arguments of its maker came with Python 3.12
_repr.maxstring = _repr.maxother = 200


class Settings(BaseModel):
    """Frozen settings with every field described; unknown keys are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Any, where: str = "settings") -> Self:
        """Validate a mapping; a wrong or unknown key raises `SettingsError` naming its place and the fix."""
        if not isinstance(values, dict):
            raise SettingsError(f"{where}: expected a mapping of settings, found {type(values).__name__}")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(_all(cls, error, where)) from None

    @classmethod
    def load(cls, source: str) -> Self:
        """Read settings from a YAML file, or from inline YAML or JSON when `source` starts with ``{``."""
        return cls.parse(read_yaml(source), "settings" if source.lstrip().startswith("{") else source)


def read_yaml(source: str) -> Any:
    """Parse inline YAML or JSON (starts with ``{``) or the YAML file at this path."""
    if source.lstrip().startswith("{"):
        return parse_yaml(source, "the settings given")
    try:
        return parse_yaml(read_text(Path(source), LONGEST), source)
    except FileNotFoundError:
        raise InputError(f"settings file not found: {source}") from None
    except OSError as error:
        raise InputError(f"cannot read settings from {source}: {error.strerror}") from None
    except InputError as error:
        raise InputError(f"cannot read settings from {error}") from None


def _all(cls: type[BaseModel], error: ValidationError, where: str) -> str:
    """Every error, or the first few of many, in one line."""
    found = error.errors(include_url=False, include_context=True)
    said = "; ".join(_explain(cls, item, where) for item in found[:_MOST])
    return said if len(found) <= _MOST else f"{said}; and {len(found) - _MOST} more"


def _explain(cls: type[BaseModel], item: Any, where: str) -> str:
    """Turn one pydantic error into ``place: what is wrong, what is known``."""
    location, known = _walk(cls, [str(part) for part in item["loc"]])
    place = shortened(".".join([where, *location]))
    if item["type"] == "union_tag_invalid":
        key, tag = item["ctx"]["discriminator"].removesuffix("()"), item["ctx"]["tag"]
        choices = re.findall(r"'([^']*)'", item["ctx"]["expected_tags"])
        return f"{place}.{key}: unknown {key} '{tag}'{nearest(tag, choices)}"
    if item["type"] == "extra_forbidden":
        return f"{place}: unknown key{nearest(location[-1], known)}"
    if item["type"] == "missing":
        return f"{place}: required, but not given"
    if item["type"] == "union_tag_not_found":
        return f"{place}: expected a mapping of settings, found {type(item['input']).__name__}"
    given = "" if isinstance(item["input"], dict) else f" (given: {_repr.repr(item['input'])})"
    return f"{place}: {shortened(item['msg'])}{given}"


def _walk(cls: type[BaseModel], parts: list[str]) -> tuple[list[str], list[str]]:
    """Return the keys that lead to a value, and the keys known beside it; through dict values and chosen alternatives.

    Where a key chooses among settings classes, pydantic names the chosen one as a step of its own: it is left out.
    """
    schema = cls.model_json_schema()
    node, known, keys = _resolve(schema, schema), [], []
    for part in parts:
        chosen = _chosen(schema, node, part)
        if chosen is not None:
            node = chosen
            continue
        keys.append(part)
        known = list(node.get("properties", {}))
        node = _resolve(schema, _step(node, part))
    return keys, known


def _chosen(schema: dict[str, Any], node: dict[str, Any], tag: str) -> dict[str, Any] | None:
    """The alternative of a node that has a key with this one value; None where there is no choice."""
    alternatives = [_resolve(schema, inner) for inner in node.get("oneOf", [])]
    keys = [one.get("properties", {}).values() for one in alternatives]
    having = [
        one for one, inner in zip(alternatives, keys, strict=True) if tag in [value.get("const") for value in inner]
    ]
    return having[0] if having else None


def _step(node: dict[str, Any], part: str) -> dict[str, Any]:
    named = [*node.get("patternProperties", {}).values(), node.get("additionalProperties"), node.get("items")]
    inner: Any = node.get("properties", {}).get(part) or next((kind for kind in named if kind), {})
    return inner if isinstance(inner, dict) else {}


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Follow ``$ref`` and the first object among ``anyOf`` alternatives."""
    for alternative in [node, *node.get("anyOf", []), *node.get("allOf", [])]:
        if "$ref" in alternative:
            found: dict[str, Any] = schema["$defs"][alternative["$ref"].rsplit("/", 1)[-1]]
            return found
    return node
