"""The published Brain-JEPA checkpoint → our model folder, with what the checkpoint itself does not say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from boldtable import __version__
from boldtable.atlas.table import AtlasTable, load_table
from boldtable.errors import InputError
from boldtable.gradients import files
from boldtable.models import InputSpec, save_model
from boldtable.models.checkpoints import Checkpoint
from boldtable.models.published_jepa import N_COMPONENTS, N_FRAMES, N_PARCELS, from_checkpoint, recognised
from boldtable.progress import say
from boldtable.stages.embed.imports import Format, Request

# Every third frame of UK Biobank's 0.735 s.
_TR_S, _NORMALISATION, _RECIPE = 2.205, "population", "brain-jepa"
LICENCE = (
    "licence: the authors' repository (Eric-LRL/Brain-JEPA) states none for code or weights; ask them before you share "
    "these weights or anything made from them"
)
_CARD = """\
---
library_name: boldtable
tags: [fmri, bold, parcels, self-supervised]
---
# {name}

The published Brain-JEPA encoder (target encoder), imported from `{file}` for parcel time series of the atlas `{atlas}`
({n_parcels} of its parcels, subcortex first, then the cortex in 17-network order; `config.json` names them): recipe
`{recipe}`, windows of {frames} frames at {tr_s:g} s (every third frame of 0.735 s; its authors also read data of about
2 s, which `tr: native` allows), parcels scaled by median and interquartile range over a population.

| | |
|---|---|
| size | {width} wide, {depth} blocks, {heads} heads |
| features | {width}: the mean over all tokens |
| checkpoint (sha256) | `{sha256}` |
| gradients | {gradients} |
| parcels of the atlas (sha256) | `{parcels}` |
| boldtable | {version} |

The checkpoint does not hold the gradients that place its parcels: they were given beside it. The statistics that its
authors scaled their data with are not published, and their code took them from the parcels' means; another scale than
theirs changes what the encoder sees, so compare `normalise` settings before you trust a number.

The encoder was pretrained by its authors on UK Biobank. Who took part is not listed here: on data from UK Biobank an
overlap with test participants cannot be ruled out.

## Use

```python
from boldtable.models import load_model

model = load_model("{name}")
```

## Licence

{licence}.

## Cite

Brain-JEPA, NeurIPS 2024, https://arxiv.org/abs/2409.19407
"""


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint is the authors': encoder, predictor and target encoder side by side."""
    return recognised(checkpoint.content)


def write(checkpoint: Checkpoint, request: Request) -> None:
    """Put the parcels in the checkpoint's order, import it with its gradients, and say its licence."""
    table, order = load_table(request.atlas), request.order
    if order is None or request.gradients is None:
        raise InputError(
            f"{checkpoint.path} is a Brain-JEPA checkpoint, which says neither the order of its parcels nor where they "
            "lie: give --order-volume (Schaefer2018_400Parcels_17Networks_order_FSLMNI152_2mm.nii.gz) and "
            "--gradients (the authors' gradient_mapping_450.csv, or a file of boldtable gradients)"
        )
    networks = dict(zip(table.names, table.networks, strict=True))
    spec = InputSpec(
        table.name, order, tuple(networks[name] for name in order), _TR_S, N_FRAMES, _NORMALISATION, _RECIPE
    )
    encoder = from_checkpoint(checkpoint.content, spec, _gradients(request.gradients, order), str(checkpoint.path))
    save_model(request.out, encoder, _card(checkpoint, request, table, encoder.config.to_dict()))
    say(f"wrote {request.out}: {encoder.n_features} features for {N_PARCELS} parcels of atlas '{table.name}'")
    say(LICENCE)


FORMAT = Format("Brain-JEPA", recognises, write, frozenset({"order", "gradients"}))


def _gradients(path: Path, order: tuple[str, ...]) -> Tensor:
    """The gradients (450, 30) in the checkpoint's order: of a CSV by place, of a table by name."""
    found = files.read(path, order)
    if found.shape[1] < N_COMPONENTS or (path.suffix == ".csv" and found.shape[1] > N_COMPONENTS):
        raise InputError(f"{path} has {found.shape[1]} gradients, the checkpoint was trained with {N_COMPONENTS}")
    if not np.isfinite(found).all():
        raise InputError(
            f"{path}: some of the {len(order)} parcels have no gradient; take a cohort that covers them all"
        )
    if path.suffix != ".csv":
        say(
            f"note: {path} is not the authors' file, by whose components, in their order and sign, the weights know "
            "the parcels: their CSV is the safe choice"
        )
    return torch.from_numpy(found[:, :N_COMPONENTS].astype(np.float32))


def _card(checkpoint: Checkpoint, request: Request, table: AtlasTable, architecture: dict[str, int]) -> str:
    """The model card (Markdown)."""
    gradients = request.gradients.name if request.gradients else ""
    sizes = {name: architecture[name] for name in ("width", "depth", "heads")}
    return _CARD.format(
        name=request.out.name, file=checkpoint.path.name, atlas=table.name, n_parcels=N_PARCELS, recipe=_RECIPE,
        tr_s=_TR_S, frames=N_FRAMES, parcels=table.sha256, version=__version__, gradients=f"`{gradients}`",
        sha256=checkpoint.sha256, licence=LICENCE[0].upper() + LICENCE[1:], **sizes,
    )  # fmt: skip
