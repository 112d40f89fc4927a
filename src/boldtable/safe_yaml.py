"""YAML as settings need it: one meaning per key, nothing without an end, and never more than a person would write.

A loader made from `yaml.SafeLoader`. A few lines of aliases of aliases stand for millions of values: what a document
holds is counted before anything is made of it.
"""

from __future__ import annotations

from typing import Any

import yaml

from boldtable.errors import InputError, shortened

LONGEST = 1_000_000  # bytes
MOST_NODES = 100_000  # values of a document with its aliases written out
DEEPEST = 50
_LONGEST_NUMBER = 100  # characters
_MERGE = "tag:yaml.org,2002:merge"


def parse_yaml(text: str, where: str) -> Any:
    """Return what a YAML (or JSON) document holds; `where` names it in errors.

    Raises `InputError` with one line for what is no YAML, for a key that comes twice in a mapping, and for documents
    that are too long, too deep, endless, or too large once their aliases are written out.
    """
    if len(text) > LONGEST:
        raise InputError(f"{where}: has {len(text)} characters, more than the {LONGEST} that settings may have")
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise InputError(f"{where}: is nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where}: {shortened(error)}") from None


class _Loader(yaml.SafeLoader):
    """A safe loader that counts, and that refuses twins."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._flattened: set[int] = set()

    def get_single_node(self) -> yaml.Node | None:
        """The document as a tree, after looking at its size."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _count(node, {}, 0)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge what ``<<`` names; the keys are looked at before, for afterwards twins are meant."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value if id(node) not in self._flattened else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                if (key.tag, key.value) in seen:
                    line = f"key '{shortened(key.value)}' comes twice: keep one"
                    raise yaml.constructor.ConstructorError(None, None, line, key.start_mark)
                seen.add((key.tag, key.value))
        self._flattened.add(id(node))
        super().flatten_mapping(node)

    def number(self, node: yaml.ScalarNode) -> Any:
        """A number of a sane length."""
        if len(node.value) > _LONGEST_NUMBER:
            raise yaml.constructor.ConstructorError(None, None, "a number is too long", node.start_mark)
        whole = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.number)


def _count(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """How many values a node stands for; raises `yaml.YAMLError` where there are too many, or no end to them."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise yaml.YAMLError("an alias stands inside of what it names, so there is no end to it")
        return known[id(node)]
    if depth > DEEPEST:
        raise yaml.YAMLError(f"is nested too deeply (more than {DEEPEST} levels)")
    known[id(node)] = 0
    total = 1 + sum(_count(inner, known, depth + 1) for inner in _inside(node))
    if total > MOST_NODES:
        raise yaml.YAMLError(f"holds more than {MOST_NODES} values once its aliases are written out")
    known[id(node)] = total
    return total


def _inside(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [inner for pair in node.value for inner in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []
