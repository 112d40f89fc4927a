"""One participant, several spellings: which identifier of a table is which participant of the dataset."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress

from boldtable.errors import InputError
from boldtable.stages.collect.files import bare

_PADDING = re.compile(r"(?<![0-9])0+(?=[0-9]+$)")
_NUMBER = re.compile(r"[0-9]+$")


def _unpadded(label: str) -> str:
    return _PADDING.sub("", label)


def _number(label: str) -> str:
    found = _NUMBER.search(label)
    return _unpadded(found.group()) if found else label


_RULES: dict[str, Callable[[str], str]] = {
    "exact": lambda label: label,
    "padding": _unpadded,
    "alphanumeric": lambda label: re.sub(r"(?<![0-9])\.|\.(?![0-9])|[^A-Za-z0-9.]", "", label),  # 1.5 is not 15
    "number": _number,
}


def canonical(identifier: str, rule: str) -> str:
    """What is left of an identifier to compare by: always without ``sub-``, and by `rule` without

    leading zeros of the number at its end ('padding'), anything but letters and digits ('alphanumeric'), or anything
    but the number at its end ('number', without leading zeros; an identifier without a number stays as it is).
    """
    return _RULES[rule](bare(identifier, "sub-"))


def remedy(known: Iterable[str], unmatched: Iterable[str], spare: Iterable[str], rule: str) -> str | None:
    """How identifiers that match nobody would match under a looser rule; None where no rule finds any of them.

    `known` are all participants, `unmatched` those without a row, `spare` identifiers of a table that mean nobody by
    `rule`. Only a rule that keeps all of `known` apart is proposed.
    """
    everybody, names, written = set(known), set(unmatched), sorted(set(spare))
    for other in list(_RULES)[list(_RULES).index(rule) + 1 :]:
        with suppress(InputError):  # the rule would take two participants for one
            match = matcher(everybody, other, "")
            pairs = {name: label for label in written if (name := match(label)) in names}
            if pairs:
                example = min(pairs)
                return (
                    f"with ids: {other}, {len(pairs)} of them would match (such as {pairs[example]} for {example}); "
                    f"set ids: {other}, or ids: {rule} to leave it at that"
                )
    return None


def matcher(known: Iterable[str], rule: str, what: str) -> Callable[[str], str | None]:
    """A function from an identifier to the known participant it means, None for a stranger.

    Raises `InputError` where the rule would take two known participants for one; `what` names the table.
    """
    labels: dict[str, str] = {}
    for label in sorted(set(known)):
        other = labels.setdefault(canonical(label, rule), label)
        if other != label:
            raise InputError(
                f"{what}: ids: {rule} takes the participants {other} and {label} for the same; choose a stricter rule"
            )
    return lambda identifier: labels.get(canonical(identifier, rule))
