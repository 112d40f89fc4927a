"""probe: embeddings × one task → scores, one row per split and metric; and before it, the task's splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from boldtable.stages.probe.settings import Probe

__all__ = ["Probe", "check_target", "run", "split"]


def check_target(settings: Probe, *, task: str, participants: Sequence[Path], out: Path) -> None:
    """Check a task against the tables of participants alone, as soon as `collect` has made them.

    Makes its splits as though every run were kept, and writes how many participants and classes there are to `out`
    (JSON). Raises `InputError` where the target column is missing (with its name in the table, where `collect` has
    renamed it), empty or constant, where a class is too small, and where a scheme leaves nobody to train on or to test.
    """
    from boldtable.stages.probe import targets

    targets.write(settings, task, participants, out)


def split(
    settings: Probe, *, task: str, participants: Sequence[Path], qc: Sequence[Path], out: Path, keep_going: bool = False
) -> None:
    """Make the splits of a task from whoever has a kept run and a target, and write ``splits`` to `out`.

    `participants` and `qc` hold a table per dataset of the settings, in the order of ``settings.datasets``.
    Participants without a target, without a kept run, or outside the task's filters never enter; a line counts them.
    The same file serves every model; its metadata key ``notes`` lists what its numbers must be read with. Raises
    `InputError` where the target column is missing, empty or constant, where a class is too small, and where one
    recording stands under two names; with `keep_going` the reason is written to `out` in their place.
    """
    from boldtable.stages.probe import outcome
    from boldtable.stages.probe import task as making

    def work() -> None:
        making.write(settings, task, participants, qc, out)

    if keep_going:
        outcome.noting(work, settings, {"splits": out}, "split", task=task)
    else:
        work()


def run(
    settings: Probe, *, model: str, task: str, embeddings: Sequence[Path], qc: Sequence[Path], splits: Path, out: Path,
    predictions: Path, participants: Sequence[Path] = (), keep_going: bool = False,
) -> None:  # fmt: skip
    """Fit and score one model on one task; write ``scores`` to `out` and ``predictions`` beside them.

    `embeddings`, `qc` and `participants` (which confounds may need) hold a file per dataset of the settings, in the
    order of ``settings.datasets``. Order of operations, per split: one embedding per participant (mean over windows,
    then over the task's runs), or every window for linear-sgd; covariances moved to the tangent space; missing values
    imputed; sites harmonised; confounds regressed out; features selected and standardised; the probe fitted, all of
    it on the training participants; its one choice made on the validation participants; scores on the test
    participants. Nothing but the final scoring sees the test part. Raises `InputError` where a participant of the
    splits has no embedding or stands on both sides, and where the splits could not be made; with `keep_going` the
    reason is written to both outputs in their place.
    """
    from boldtable.stages.probe import outcome

    def work() -> None:
        outcome.refuse_failed(splits)
        from boldtable.stages.probe import scoring  # scikit-learn takes a second: only the job that needs it pays

        scoring.write(settings, model, task, embeddings, qc, participants, splits, out, predictions)

    if keep_going:
        files = {"predictions": predictions, "scores": out}
        outcome.noting(work, settings, files, "probe", model=model, task=task)
    else:
        work()
