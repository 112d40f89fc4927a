"""The base of every settings class: frozen, unknown keys refused, every error one line.

Each stage declares one subclass at the top of its module; every field has a description with its unit
and range. The config block of a stage is exactly this class, so a rule and a hand-typed command read the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from boldtable.errors import InputError, SettingsError, nearest


class Settings(BaseModel):
    """Frozen settings with every field described; unknown keys are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls, values: Any, where: str = "settings") -> Self:
        """Validate a mapping; a wrong or unknown key raises `SettingsError` naming its place and the fix."""
        if not isinstance(values, dict):
            raise SettingsError(f"{where}: expected a mapping of settings, found {type(values).__name__}")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError("; ".join(_explain(cls, item, where) for item in error.errors())) from None

    @classmethod
    def load(cls, source: str) -> Self:
        """Read settings from a YAML file, or from inline YAML or JSON when `source` starts with ``{``."""
        return cls.parse(read_yaml(source), "settings" if source.lstrip().startswith("{") else source)


def read_yaml(source: str) -> Any:
    """Parse inline YAML or JSON (starts with ``{``) or the YAML file at this path."""
    inline = source.lstrip().startswith("{")
    try:
        return yaml.safe_load(source if inline else Path(source).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"settings file not found: {source}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read settings from {source}: {_one_line(error)}") from None


def _explain(cls: type[BaseModel], item: Any, where: str) -> str:
    """Turn one pydantic error into ``place: what is wrong, what is known``."""
    location = [str(part) for part in item["loc"]]
    place = ".".join([where, *location])
    if item["type"] == "extra_forbidden":
        return f"{place}: unknown key{nearest(location[-1], _known_keys(cls, location[:-1]))}"
    if item["type"] == "missing":
        return f"{place}: required, but not given"
    given = "" if isinstance(item["input"], dict) else f" (given: {item['input']!r})"
    return f"{place}: {_one_line(item['msg'])}{given}"


def _known_keys(cls: type[BaseModel], path: list[str]) -> list[str]:
    """Find the field names of the nested settings class that `path` leads to, through dict values too."""
    schema = cls.model_json_schema()
    node: dict[str, Any] = schema
    for part in path:
        node = _step(schema, node, part)
    return list(_resolve(schema, node).get("properties", {}))


def _step(schema: dict[str, Any], node: dict[str, Any], part: str) -> dict[str, Any]:
    node = _resolve(schema, node)
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


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
