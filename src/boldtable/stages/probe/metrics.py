"""The metrics of the table, on the test participants of one split."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, r2_score, roc_auc_score

Array = npt.NDArray[Any]


def balanced_accuracy(truth: Array, predicted: Array) -> float:
    """Mean recall over the classes that occur in `truth`."""
    own = np.unique(truth, return_inverse=True)[1]
    # Every head is judged by it: scikit-learn's checks would cost more than a head's epoch.
    return float(np.mean(np.bincount(own, weights=np.asarray(predicted) == truth) / np.bincount(own)))


def classification(truth: Array, probabilities: Array) -> dict[str, float]:
    """Balanced accuracy, accuracy, macro F1 and AUROC of class numbers (participant,) and (participant, class).

    AUROC of more than two classes is the unweighted mean over classes of one against the rest, over the classes that
    occur in `truth`; NaN where only one does.
    """
    predicted = probabilities.argmax(axis=1)
    return {
        "balanced_accuracy": balanced_accuracy(truth, predicted),
        "accuracy": float(accuracy_score(truth, predicted)),
        "f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
        "auroc": _auroc(truth, probabilities),
    }


def _auroc(truth: Array, probabilities: Array) -> float:
    present = np.unique(truth)
    if len(present) < 2:
        return float("nan")
    judged = [1] if probabilities.shape[1] == 2 else present
    return float(np.mean([roc_auc_score(truth == label, probabilities[:, label]) for label in judged]))


def regression(truth: Array, predicted: Array) -> dict[str, float]:
    """Mean absolute error (units of the target), R² (against the test mean) and Pearson r (NaN if constant)."""
    constant = np.ptp(truth) == 0 or np.ptp(predicted) == 0
    return {
        "mae": float(mean_absolute_error(truth, predicted)),
        "r2": float(r2_score(truth, predicted)) if len(truth) > 1 else float("nan"),
        "pearson_r": float("nan") if constant else float(np.corrcoef(truth, predicted)[0, 1]),
    }


def fingerprint(similarity: Array) -> tuple[dict[str, float], Array, Array]:
    """Identify row i among the columns, and column i among the rows; `similarity` is (first, second), same people.

    Returns accuracy and mean_rank (1 is best), both averaged over the two directions, and the nearest participant by
    direction (two arrays). Someone as similar as the right one counts as ahead of it, so that embeddings that are all
    alike identify nobody.
    """
    own = np.diag(similarity)
    ranks = [(similarity >= own[:, None]).sum(axis=1), (similarity >= own[None, :]).sum(axis=0)]
    values = {
        "accuracy": float(np.mean([(rank == 1).mean() for rank in ranks])),
        "mean_rank": float(np.mean([rank.mean() for rank in ranks])),
    }
    return values, similarity.argmax(axis=1), similarity.argmax(axis=0)
