"""pretrain: tensors of some datasets × one model → a model folder."""

from __future__ import annotations

from pathlib import Path

from boldtable.stages.pretrain.methods import METHODS, AnyPretrain
from boldtable.stages.pretrain.settings import Pretrain

__all__ = ["METHODS", "AnyPretrain", "Pretrain", "run"]


def run(
    settings: Pretrain,
    *,
    model: str,
    atlas: Path,
    tensors: list[Path],
    qc: list[Path],
    out: Path,
    population: Path | None = None,
) -> None:
    """Train `model` on every kept run and write the folder `out`, whole or not at all.

    `settings` are those of a method (`methods`), `tensors` (folders) and `qc` (files) in the order of
    ``settings.datasets``. The folder holds the weights of the finished encoder (model.safetensors), config.json,
    training.parquet, data.json (who was learnt from) and README.md (the model card), and where asked for complete
    folders of models on the way, snapshots/{step}; 0 epochs write the weights that training with this seed starts from.
    While training runs, checkpoints lie in ``.{name}.training`` beside `out`; the same command goes on from there. On a
    CPU the same settings, data and number of threads and processes give the same weights to the bit, interrupted or
    not.

    `population` are the statistics of a recipe with normalise 'population'; a copy, normalisation.parquet, lies beside
    the weights, so that other data are brought to the same scale.

    Started by torchrun, every process trains on its share of each batch and the first one writes; N processes give what
    one gives within rounding.

    Raises `InputError` for tensors that do not belong together, `BoldtableError` naming step and runs where a loss is
    not finite, `SystemExit` with code 75 after SIGTERM.
    """
    # Here and not above: who only checks settings need not wait for torch.
    from boldtable.stages.pretrain import job

    job.pretrain(settings, model, job.Sources(atlas, tensors, qc, population), out)
