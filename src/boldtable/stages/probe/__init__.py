"""probe: embeddings × one task → scores, one row per split and metric; and before it, the task's splits."""

from __future__ import annotations

from pathlib import Path

from boldtable.stages.probe.settings import Probe

__all__ = ["Probe", "run", "split"]


def split(settings: Probe, *, task: str, participants: Path, qc: Path, out: Path) -> None:
    """Make the splits of a task from whoever has a kept run and a target, and write ``splits`` to `out`.

    Participants without a target, or without a kept run, never enter. The same file serves every model. Raises
    `InputError` where the target column is missing, empty or constant, and where a class is too small.
    """
    from boldtable.stages.probe import task as making

    making.write(settings, task, participants, qc, out)


def run(
    settings: Probe, *, model: str, task: str, embeddings: Path, splits: Path, out: Path, predictions: Path
) -> None:
    """Fit and score one model on one task; write ``scores`` to `out` and ``predictions`` beside them.

    Order of operations, per split: one embedding per participant (mean over windows, then over runs); features
    imputed and standardised with the training participants' mean and standard deviation; the regularisation chosen
    on the validation participants; scores on the test participants. Nothing but the final scoring sees the test
    part. Raises `InputError` where a participant of the splits has no embedding or stands on both sides.
    """
    from boldtable.stages.probe import scoring  # scikit-learn takes a second: only the job that needs it pays

    scoring.write(settings, model, task, embeddings, splits, out, predictions)
