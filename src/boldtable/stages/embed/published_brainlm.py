"""The published BrainLM checkpoints → our model folder, with what the checkpoints themselves do not say."""

from __future__ import annotations

from pathlib import Path

import torch

from boldtable import __version__, store
from boldtable.atlas.table import AtlasTable, load_table
from boldtable.errors import InputError
from boldtable.models import InputSpec, save_model
from boldtable.models.brainlm_published import Model, is_brainlm, read_brainlm
from boldtable.models.brainlm_vit import BrainLMImages
from boldtable.models.checkpoints import Checkpoint
from boldtable.progress import say
from boldtable.stages.embed.imports import Format, Request, note_source
from boldtable.stages.embed.inputs import NORMALISATION

# UK Biobank (0.735 s) and a hundredth of it HCP (0.72 s), at their native repetition times.
_TR_S, _FRAMES, _NORMALISATION, _RECIPE = 0.735, 200, "population", "brainlm"
_ATLAS, _N_PARCELS = "a424", 424
LICENCE = (
    "licence: the authors' code (vandijklab/BrainLM) is Apache-2.0, these weights are CC BY-NC-ND 4.0: no commercial "
    "use, no sharing of what is made from them, this folder included"
)
_CARD = """\
---
library_name: boldtable
license: cc-by-nc-nd-4.0
tags: [fmri, bold, parcels, self-supervised]
---
# {name}

The published BrainLM ({kind}), imported from `{file}` for parcel time series of the atlas `{atlas}` ({n_parcels}
parcels, in the order of `config.json`): recipe `{recipe}` (no band-pass, native repetition time, about {tr_s:g} s),
windows of {frames} frames.

| | |
|---|---|
| size | {size} |
| parameters | {n_parameters:,}, with the decoder |
| features | {n_features}: the summary token |
| checkpoint (sha256) | `{sha256}` |
| parcels (sha256) | `{parcels}` |
| boldtable | {version} |

## Scaling

Signals are scaled by the median and interquartile range of every parcel over a population: (x - median) / IQR{also}.
The authors' statistics are not published: `boldtable population` fits them on the data sets that the recipe declares.
Where `normalisation.parquet` lies beside these weights, `embed` scales by it.
The released tool computes x - median / IQR instead (operator precedence), which hardly scales at all; whether the
weights were trained on the one or the other is not known.

## Order of the tokens

{order}

The encoder was pretrained by its authors on UK Biobank and HCP. Who took part is not listed here: on data from either
an overlap with test participants cannot be ruled out.

## Use

```python
from boldtable.models import load_model

model = load_model("{name}")
```

## Licence

{licence}.

## Cite

Ortega Caro J, et al. (2024). BrainLM: A foundation model for brain activity recordings. ICLR 2024.
https://doi.org/10.1101/2023.09.12.557460
"""
_ORDERED = """\
`embed` hides nothing and reads the tokens parcel by parcel in the order of the atlas, patches of a parcel one after the
other. The released model shuffles them even then, and its convolution over the tokens sees that: its features depend on
random noise, by up to a few units. The fixed order is the one the decoder was trained in."""
_ANY_ORDER = "`embed` hides nothing; the order of the tokens does not matter to this transformer."


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint is one of the three, by the names of its tensors."""
    return is_brainlm(checkpoint.content)


def write(checkpoint: Checkpoint, request: Request) -> None:
    """Check the atlas, import the checkpoint with its decoder and say its licence."""
    table, out = load_table(request.atlas), request.out
    coordinates = _positions(table)
    _check_statistics(request.population, table)
    note_source(request.atlas, table, _ATLAS)
    spec = InputSpec(table.name, tuple(table.names), tuple(table.networks), _TR_S, _FRAMES, _NORMALISATION, _RECIPE)
    model = read_brainlm(checkpoint, spec, coordinates)
    beside = {} if request.population is None else {NORMALISATION: request.population}
    save_model(out, model, _card(checkpoint, table, out.name, model), beside=beside)
    say(f"wrote {out}: {model.n_features} features for {table.n_parcels} parcels of atlas '{table.name}'")
    say(LICENCE)


FORMAT = Format("BrainLM", recognises, write, frozenset({"population"}))


def _check_statistics(path: Path | None, table: AtlasTable) -> None:
    """Refuse statistics of other parcels."""
    if path is None:
        return
    rows, atlas = store.frame(path, "population"), store.provenance(path).get("atlas_sha256")
    if len(rows) != table.n_parcels or atlas not in (None, table.sha256):
        raise InputError(f"{path} has statistics of other parcels than those of atlas '{table.name}'")


def _positions(table: AtlasTable) -> torch.Tensor:
    """The positions of the parcels (parcel, 3; mm); refuses an atlas that cannot be the one of the weights."""
    if table.n_parcels != _N_PARCELS:
        raise InputError(
            f"atlas '{table.name}' has {table.n_parcels} parcels, the weights were learnt on the {_N_PARCELS} of A424: "
            f"make the atlas with source: {_ATLAS}"
        )
    places = torch.tensor(table.parcels[["x_mm", "y_mm", "z_mm"]].to_numpy(dtype="float64"))
    if not places.isfinite().all():
        raise InputError(f"atlas '{table.name}' lacks positions (x_mm, y_mm, z_mm): make it with source: {_ATLAS}")
    return places


def _card(checkpoint: Checkpoint, table: AtlasTable, name: str, model: Model) -> str:
    """The model card (Markdown)."""
    config, images = model.config, isinstance(model, BrainLMImages)
    also = f", then divided by the authors' constant {model.config.scale:g}" if isinstance(model, BrainLMImages) else ""
    return _CARD.format(
        name=name, kind="windows as images, ViT-MAE" if images else "tokens of parcels and patches",
        file=checkpoint.path.name, atlas=table.name, n_parcels=table.n_parcels, recipe=_RECIPE, tr_s=_TR_S,
        frames=model.spec.n_frames, size=f"{config.width} wide, {config.depth} layers, {config.heads} heads",
        n_parameters=sum(weight.numel() for weight in model.parameters()), n_features=model.n_features,
        sha256=checkpoint.sha256, parcels=table.sha256, version=__version__, also=also,
        order=_ANY_ORDER if images else _ORDERED, licence=LICENCE[0].upper() + LICENCE[1:],
    )  # fmt: skip
