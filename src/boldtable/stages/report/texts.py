"""Single values as printed."""

from __future__ import annotations

import math

from boldtable.tasks.metrics import METRICS

MINUS = "\N{MINUS SIGN}"


def number(value: float, metric: str, signed: bool = False) -> str:
    """A value as printed: accuracies in percent with one digit; an empty text for a missing value."""
    if not math.isfinite(value):
        return ""
    record = METRICS[metric]
    text = f"{value * record.scale:{'+' if signed else ''}.{record.digits}f}"
    return text.replace("-", MINUS)


def interval(low: float, high: float, metric: str) -> str:
    """``[low, high]`` as printed, or an empty text."""
    return f"[{number(low, metric)}, {number(high, metric)}]" if math.isfinite(low) and math.isfinite(high) else ""


def p_value(p: float) -> str:
    """A p value as printed: three digits, never zero."""
    if not math.isfinite(p):
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"
