"""The published Brain-Semantoks checkpoint → our model folder, with what the checkpoint itself does not say."""

from __future__ import annotations

from boldtable import __version__
from boldtable.atlas.table import AtlasTable, load_table
from boldtable.errors import InputError
from boldtable.models import InputSpec
from boldtable.models.checkpoints import Checkpoint
from boldtable.models.published import import_semantoks
from boldtable.progress import say
from boldtable.stages.embed.imports import Format, Request, note_source

# The released settings: windows of 100 frames at 2 s, z-scored parcels, 457 of them in nine networks of these sizes.
_TR_S, _FRAMES, _NORMALISATION, _RECIPE = 2.0, 100, "zscore", "semantoks"
_SIZES = (61, 77, 46, 47, 26, 52, 91, 50, 7)
_ATLAS = "schaefer400-tian3-buckner7"
# The order of the networks in the published checkpoint; the names are those of that atlas.
PUBLISHED_NETWORKS = (
    "Vis", "SomMot", "DorsAttn", "SalVentAttn", "Limbic", "Cont", "Default", "Subcortex", "Cerebellum",
)  # fmt: skip
LICENCE = (
    "licence: the authors' repository (SamGijsen/Brain-Semantoks) states none for code or weights; ask them before you "
    "share these weights or anything made from them"
)
_CARD = """\
---
library_name: boldtable
tags: [fmri, bold, parcels, self-supervised]
---
# {name}

The published Brain-Semantoks encoder (teacher), imported from `{file}` for parcel time series of the atlas `{atlas}`
({n_parcels} parcels, {n_networks} networks, in the order of `config.json`): recipe `{recipe}`, repetition time
{tr_s:g} s, windows of {frames} frames, each parcel z-scored over its run.

| | |
|---|---|
| size | base: 768 wide, 8 blocks, 12 heads |
| features | 1536: the mean over the tokens, then the summary token |
| checkpoint (sha256) | `{sha256}` |
| parcels (sha256) | `{parcels}` |
| boldtable | {version} |

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

Brain-Semantoks, ICLR 2026, https://arxiv.org/abs/2512.11582
"""


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint is the authors': their state dict lies under a name of its own."""
    return "model_state_dict" in checkpoint.content


def write(checkpoint: Checkpoint, request: Request) -> None:
    """Check the atlas, import the checkpoint and say its licence."""
    table, out = load_table(request.atlas), request.out
    _check(table, request.networks or PUBLISHED_NETWORKS)
    note_source(request.atlas, table, _ATLAS)
    spec = InputSpec(table.name, tuple(table.names), tuple(table.networks), _TR_S, _FRAMES, _NORMALISATION, _RECIPE)
    encoder = import_semantoks(checkpoint, out, spec, _card(checkpoint, table, out.name))
    say(f"wrote {out}: {encoder.n_features} features for {table.n_parcels} parcels of atlas '{table.name}'")
    say(LICENCE)


FORMAT = Format("Brain-Semantoks", recognises, write, frozenset({"networks"}))


def _check(table: AtlasTable, networks: tuple[str, ...]) -> None:
    """Refuse an atlas whose networks are not those of the checkpoint, in its order and of its sizes."""
    if len(networks) != len(_SIZES):
        raise InputError(f"--network-order has {len(networks)} networks, the checkpoint {len(_SIZES)}")
    found = list(dict.fromkeys(table.networks))
    if found != list(networks):
        raise InputError(
            f"atlas '{table.name}' has the networks {', '.join(found)} in this order, the checkpoint expects "
            f"{', '.join(networks)}: make the atlas {_ATLAS}, or name its networks with --network-order"
        )
    sizes = tuple(table.networks.count(network) for network in networks)
    if sizes != _SIZES:
        differ = [f"{name} {ours} instead of {size}" for name, ours, size in zip(networks, sizes, _SIZES, strict=True)
                  if ours != size]  # fmt: skip
        raise InputError(
            f"atlas '{table.name}' has other parcels per network than the checkpoint: {', '.join(differ)}; "
            f"make the atlas {_ATLAS}"
        )


def _card(checkpoint: Checkpoint, table: AtlasTable, name: str) -> str:
    """The model card (Markdown)."""
    return _CARD.format(
        name=name, file=checkpoint.path.name, atlas=table.name, n_parcels=table.n_parcels, n_networks=len(_SIZES),
        recipe=_RECIPE, tr_s=_TR_S, frames=_FRAMES, parcels=table.sha256, version=__version__,
        sha256=checkpoint.sha256, licence=LICENCE[0].upper() + LICENCE[1:],
    )  # fmt: skip
