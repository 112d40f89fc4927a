"""Settings that say who is in a task: the values of a column, and conditions on them."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, ValidationError, WrapValidator, model_validator

from boldtable.settings import Settings


def _plain(value: Any, check: Any) -> Any:
    try:
        return check(value)
    except ValidationError:
        raise ValueError("expected a text, a number, true or false") from None


# The values of a column. One line says what is expected, rather than one per type.
Value = Annotated[str | int | float | bool, WrapValidator(_plain)]


class Limits(Settings):
    """A range of numbers."""

    min: float | None = Field(None, description="Smallest value that passes; null for none.")
    max: float | None = Field(None, description="Largest value that passes; null for none.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self


def _shape(value: Any) -> str:
    return "range" if isinstance(value, dict | Limits) else "list" if isinstance(value, list) else "value"


Condition = Annotated[
    Annotated[Limits, Tag("range")] | Annotated[list[Value], Tag("list")] | Annotated[Value, Tag("value")],
    Discriminator(_shape),
]
Conditions = dict[str, Condition]


def class_name(value: object) -> str:
    """A class as text: 1.0 (a whole number in a column with gaps) reads 1."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
