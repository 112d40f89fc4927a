"""What the nuisance row really sees: to say that it sees motion, where none was known, would be a false all-clear."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from boldtable import store
from boldtable.errors import InputError

_MOTION = ("fd_mm_mean", "fd_mm_max", "fd_share_over", "n_spikes", "dvars")


def lines(
    results: Path, config: Mapping[str, Any], rows: Mapping[str, list[str]], datasets: list[str]
) -> Iterator[str]:
    """Yield a line per nuisance row and dataset: the features it has, and that motion is not among them.

    `rows` are the printed rows and the models behind each.
    """
    embed = config.get("embed") or {}
    for row, models in rows.items():
        if (embed.get(models[0]) or {}).get("encoder") != "nuisance":
            continue
        for dataset in datasets:
            known = _known(results / "embeddings" / models[0] / f"{dataset}.parquet")
            if known is None:
                continue
            line = f"{row} of {dataset} is made of {', '.join(known) or 'nothing that is known'}"
            if not set(_MOTION) & set(known):
                line += "; motion is unknown, so that nothing here shows what motion alone would predict"
            yield line


def _known(path: Path) -> list[str] | None:
    """The features that at least one run has, by what the file of embeddings says; None where it does not."""
    try:
        found = store.provenance(path).get("known")
    except (OSError, InputError):
        return None
    return None if found is None else [str(name) for name in found]
