"""The documents made from the settings classes: the config schema, config/README.md and a config to start from.

``python -m boldtable.generate`` writes them; a test fails when one of them drifts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from boldtable.settings import Settings
from boldtable.study import Study

# Values for the starter config where a key has no default: what a first study would write.
EXAMPLES: dict[str, dict[str, Any]] = {
    "preprocess": {},
    "collect": {"my_dataset": {"derivatives": "/data/my_dataset/derivatives/fmriprep"}},
    "parcellate": {"schaefer400-tian3-buckner7": {"source": "schaefer400-tian3-buckner7"}},
    "clean": {"semantoks": {"atlas": "schaefer400-tian3-buckner7"}},
    "qc": {"recipe": "semantoks"},
    "pretrain": {"my_model": {"recipe": "semantoks", "datasets": ["my_dataset"]}},
    "embed": {"my_model": {"recipe": "semantoks", "encoder": "my_model"}},
    "probe": {"my_dataset-sex": {"dataset": "my_dataset", "kind": "classification", "target": "sex"}},
    "report": {"main": {"models": ["my_model"], "tasks": ["my_dataset-sex"]}},
}


def entry_classes(field: FieldInfo) -> tuple[type[Settings], ...]:
    """The settings classes of a block: the class itself, or that of a mapping's entries, or those they choose among."""
    kind = field.annotation
    kinds = [kind] if isinstance(kind, type) and issubclass(kind, Settings) else _choices(get_args(kind)[1])
    assert all(issubclass(one, Settings) for one in kinds)
    return tuple(kinds)


def _choices(kind: Any) -> list[Any]:
    """The classes in a type: itself, without what it is annotated with, or the members of a union."""
    if get_origin(kind) is Annotated:
        return _choices(get_args(kind)[0])
    return [inner for member in get_args(kind) for inner in _choices(member)] or [kind]


def blocks() -> dict[str, tuple[type[Settings], ...]]:
    """Stage → the settings classes of its entries, in running order; the first is the one without a choice."""
    return {name: entry_classes(field) for name, field in Study.model_fields.items()}


def schema() -> str:
    """The JSON schema that the workflow validates a config against and that editors complete from."""
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Study.model_json_schema()}
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    # Entries that leave out which kind they are match several kinds; the settings classes decide, with a default.
    return text.replace('"oneOf": [', '"anyOf": [')


def readme() -> str:
    """config/README.md: every key of every block."""
    lines = [
        "# The config file",
        "",
        "One block per stage, in running order. Except for `qc`, a block holds named entries: the name is the one in",
        "paths and tables, and the other blocks refer to it. `boldtable check config.yaml` checks a file; `boldtable",
        "init` writes one to start from. Threads, memory, GPUs and partitions are in `workflow/profiles/`, not here.",
        "",
        "This page is made from the settings classes by `make docs`; do not edit it.",
    ]
    for name, classes in blocks().items():
        about = Study.model_fields[name].description
        if len(classes) == 1:
            lines += ["", f"## {name}", "", f"{about} {_first_line(classes[0])}", "", *_table(classes[0])]
            continue
        common = _common(classes)
        lines += ["", f"## {name}", "", f"{about} {_first_line(common)} Keys of every model:", "", *_table(common)]
        for cls in classes:
            own = [key for key, field in cls.model_fields.items() if _differs(field, common.model_fields.get(key))]
            lines += ["", f"### model: {_model(cls)}", "", _first_line(cls), "", *_table(cls, own)]
    return "\n".join(lines) + "\n"


def _first_line(cls: type[Settings]) -> str:
    return (cls.__doc__ or "").splitlines()[0]


def _common(classes: Sequence[type[Settings]]) -> type[Settings]:
    """The nearest settings class that all are made from."""
    return next(one for one in classes[0].__mro__ if all(issubclass(cls, one) for cls in classes))


def _differs(field: FieldInfo, common: FieldInfo | None) -> bool:
    """Whether a key is new in a class, or has another default or meaning than in the common one."""
    return common is None or (field.default, field.description) != (common.default, common.description)


def _model(cls: type[Settings]) -> str:
    return str(get_args(cls.model_fields["model"].annotation)[0])


def _table(cls: type[Settings], keys: Sequence[str] | None = None) -> list[str]:
    rows = [_row(key, cls.model_fields[key], cls) for key in (cls.model_fields if keys is None else keys)]
    return ["| key | values | default | meaning |", "|---|---|---|---|", *rows]


def _row(key: str, field: FieldInfo, cls: type[Settings]) -> str:
    values = _values(cls.model_json_schema(), cls.model_json_schema()["properties"][key])
    default = "required" if field.is_required() else f"`{_shown(field)}`"
    return f"| `{key}` | {values} | {default} | {field.description} |".replace("\n", " ")


def _shown(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    plain = value.model_dump(mode="json") if isinstance(value, Settings) else value
    return json.dumps(plain, default=str).replace("|", "\\|")


def _values(root: dict[str, Any], node: dict[str, Any]) -> str:
    """A node of the JSON schema in words."""
    if "$ref" in node:
        return _values(root, root["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    if "anyOf" in node:
        return " or ".join(_values(root, inner) for inner in node["anyOf"])
    if "enum" in node or "const" in node:
        return ", ".join(f"`{value}`" for value in node.get("enum", [node.get("const")]))
    if node.get("type") == "array":
        return f"list of {_values(root, node.get('items', {}))}"
    bounds = {"exclusiveMinimum": "> ", "minimum": "≥ ", "exclusiveMaximum": "< ", "maximum": "≤ "}
    limits = [f"{sign}{node[bound]:g}" for bound, sign in bounds.items() if bound in node]
    return " ".join([{"null": "`null`"}.get(node.get("type", ""), node.get("type", "any")), *limits])


def starter() -> str:
    """A config to start from: what must be filled in, and every other key with its default, commented out."""
    lines = [
        "# yaml-language-server: $schema=../workflow/schemas/config.schema.json",
        "# A config to start from (boldtable init). Every key is explained in config/README.md.",
        "# Check it with: boldtable check config.yaml",
    ]
    for name, (cls, *others) in blocks().items():
        lines += ["", f"# {Study.model_fields[name].description}"]
        example = EXAMPLES[name]
        if not example:
            lines += [f"{name}: {{}}"]
        elif name == "qc":
            lines += [f"{name}:", *_entry(cls, example, "  ")]
        else:
            lines += [f"{name}:"]
            for position, (entry, values) in enumerate(example.items()):
                lines += [f"  {entry}:", *_entry(cls, values, "    ", optional=position == 0)]
            for other in others:
                lines += _alternative(cls, other, next(iter(example.values())))
    return "\n".join(lines) + "\n"


def _entry(cls: type[Settings], values: dict[str, Any], indent: str, optional: bool = True) -> list[str]:
    given = [f"{indent}{key}: {_inline(value)}" for key, value in values.items()]
    rest = {key: field for key, field in cls.model_fields.items() if key not in values and not field.is_required()}
    return given + [f"{indent}# {key}: {_inline(_default(field))}" for key, field in rest.items() if optional]


def _alternative(cls: type[Settings], other: type[Settings], values: dict[str, Any]) -> list[str]:
    """An entry of another class, commented out: what it needs, and the keys that it does not share with `cls`."""
    model, fields = _model(other), other.model_fields
    own = {key: field for key, field in fields.items() if _differs(field, cls.model_fields.get(key)) and key != "model"}
    given = {"model": model, **values}
    lines = [f"{key}: {_inline(value)}" for key, value in given.items()]
    lines += [
        f"{key}: {'...' if field.is_required() else _inline(_default(field))}"
        for key, field in own.items()
        if key not in given
    ]
    return [f"  # my_{model}:", *(f"  #   {line}" for line in lines)]


def _default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True, validated_data={})
    assert value is not PydanticUndefined
    return json.loads(json.dumps(value.model_dump() if isinstance(value, Settings) else value, default=str))


def _inline(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def documents() -> dict[str, str]:
    """Path below the repository root → text."""
    return {
        "workflow/schemas/config.schema.json": schema(),
        "config/README.md": readme(),
        "config/config.yaml": starter(),
    }


def main() -> None:
    """Write every generated document below the current folder."""
    for path, text in documents().items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
