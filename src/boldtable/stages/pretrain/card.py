"""The model card: what was trained, on whom, how, and what must be cited."""

from __future__ import annotations

import json
import platform

import torch

from boldtable import __version__, store
from boldtable.atlas.table import AtlasTable
from boldtable.stages.pretrain.data import Cohort
from boldtable.stages.pretrain.settings import Pretrain

_CARD = """\
---
library_name: boldtable
tags: [fmri, bold, parcels, self-supervised]
---
# {name}

{what} ({size}) for parcel time series of the atlas `{atlas}` ({n_parcels} parcels, {n_networks} networks) in space
{space}, recipe `{recipe}`, repetition time {tr}, views of {window} frames, patches of {patch} frames.
{trained}{note}

| | |
|---|---|
| parameters of the encoder | {n_parameters:,} |
| participants | {n_participants} |
| runs | {n_runs} |
| datasets | {datasets} |
| data fingerprint | `{fingerprint}` |
| settings fingerprint | `{settings_sha256}` |
| seed | {seed} |
| boldtable | {version} |
| torch | {torch_version} |
| threads | {threads} (on a CPU the last bits of the weights depend on it) |
| Python | {python} |

## Use

```python
from boldtable.models import load_model

model = load_model("{name}")
```

`config.json` holds the architecture and the input the model expects (atlas, parcels in order, networks, repetition
time, frames, normalisation); `training.parquet` the training curves; `data.json` who was learnt from, so that an
overlap with test participants can be reported: numbers on participants the model has seen are not numbers on new
people.

## Licence

Weights: as the data permit. The data sets a model is trained on decide whether and how its weights may be shared.
The method: {licence}.

## Cite

The method: {paper}.

```bibtex
{bibtex}
```

## Settings

```json
{settings}
```
"""


def text(name: str, settings: Pretrain, cohort: Cohort, table: AtlasTable, n_parameters: int, trained: str) -> str:
    """The model card (Markdown); `trained` is one sentence on the training (see `trained`)."""
    values = settings.model_dump(mode="json")
    return _CARD.format(
        name=name, what=settings.origin.what, size=settings.size, atlas=table.name, n_parcels=table.n_parcels,
        n_networks=len(set(table.networks)), space=table.space, recipe=settings.recipe, tr=_seconds(cohort.tr_s),
        window=settings.window_frames, patch=settings.patch_frames, trained=trained, note=_note(settings.origin.note),
        n_parameters=n_parameters, n_participants=cohort.n_participants, n_runs=cohort.n_runs,
        datasets=", ".join(settings.datasets), fingerprint=cohort.fingerprint,
        settings_sha256=store.sha256_json(values), seed=settings.seed,
        version=__version__, torch_version=torch.__version__, threads=torch.get_num_threads(),
        python=platform.python_version(),
        paper=settings.origin.paper, licence=settings.origin.licence, bibtex=settings.origin.bibtex,
        settings=json.dumps(values, indent=2),
    )  # fmt: skip


def _note(text: str) -> str:
    return f"\n\n{text}" if text else ""


def seen(settings: Pretrain, cohort: Cohort) -> str:
    """Who was learnt from, as JSON: dataset → participants, with the fingerprint of the data."""
    found = {"trained": settings.epochs > 0, "fingerprint": cohort.fingerprint, "participants": cohort.participants}
    return json.dumps(found, indent=1) + "\n"


def _seconds(tr_s: float | None) -> str:
    return "unknown" if tr_s is None else f"{tr_s:g} s"


def trained(settings: Pretrain, ends: dict[str, float]) -> str:
    """One sentence on the training and where its losses ended (name → mean over the last epoch)."""
    if settings.epochs == 0:
        return "It is untrained: the weights are the ones that training with this seed starts from."
    losses = ", ".join(f"{key} {value:.4f}" for key, value in ends.items())
    return f"Trained from scratch for {settings.epochs} epochs. Means over the last epoch: {losses}."
