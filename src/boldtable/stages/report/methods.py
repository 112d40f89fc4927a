"""The methods text of the page and the works it cites, chosen by what the config says was used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from boldtable.stages.report.works import WORKS, Work

_ATLASES = {
    "schaefer": "cortical parcels and networks after Schaefer et al. (2018)",
    "tian": "subcortical parcels after Tian et al. (2020)",
    "buckner": "cerebellar networks after Buckner et al. (2011)",
    "a424": "424 parcels, those of the cortex after Glasser et al. (2016)",
    "cc200": "200 parcels after Craddock et al. (2012)",
}


def text(config: Mapping[str, Any], trained: bool, permuted: bool = False) -> list[tuple[str, str]]:
    """Paragraphs as (heading, text): only what the config shows to be true of this table, or holds for all."""
    found = [("Data", _data(config)), ("Atlas", _atlas(config)), ("Quality control", _QC)]
    found.append(("Models", _models(config, trained)))
    statistics = " ".join([_STATISTICS, *([_PERMUTED] if permuted else [])])
    return [
        (head, words)
        for head, words in [*found, ("Evaluation", _evaluation(config)), ("Statistics", statistics)]
        if words
    ]


def _evaluation(config: Mapping[str, Any]) -> str:
    """What holds for every task, and a sentence for each way of splitting and probing that the config names."""
    tasks = [about for about in (config.get("probe") or {}).values() if about]
    fitted = [about for about in tasks if about.get("kind") != "fingerprint"]
    schemes = {about.get("scheme", "random") for about in fitted}
    said = [_EVALUATION, *(words for scheme, words in _SCHEMES.items() if scheme in schemes)]
    for head, words in _HEADS.items():
        mine = [about for about in fitted if _head(about) == head]
        if mine:
            said.append(f"{words} {_NESTED if all(about.get('inner_folds') for about in mine) else _CHOSEN}.")
    said += [_HARMONISED] if any(about.get("harmonise") == "site" for about in fitted) else []
    confounds = dict.fromkeys(str(name) for about in fitted for name in about.get("confounds") or [])
    said += [_CONFOUNDS.format(", ".join(confounds))] if confounds else []
    said += [_FINGERPRINT] if len(fitted) < len(tasks) else []
    return " ".join(said)


def _head(about: Mapping[str, Any]) -> str:
    """The probe of a task, where none is named that of its kind."""
    return str(about.get("probe") or ("ridge" if about.get("kind") == "regression" else "logistic"))


def _models(config: Mapping[str, Any], trained: bool) -> str:
    """A sentence per kind of model that the config names."""
    embed, pretrain = config.get("embed") or {}, config.get("pretrain") or {}
    encoders = {str((about or {}).get("encoder")) for about in embed.values()}
    kinds = {str((about or {}).get("model", "semantoks")) for about in pretrain.values()}
    kinds |= {"semantoks"} if trained and not pretrain else set()
    said = [words for encoder, words in _BASELINES.items() if encoder in encoders]
    said += [words for kind, words in _KINDS.items() if kind in kinds and trained]
    said += [_FROZEN] if trained else []
    hidden = any((about or {}).get(key) for about in embed.values() for key in ("hide_networks", "only_networks"))
    said += [_HIDDEN] if hidden else []
    said += [_GIVEN] if any((about or {}).get("weights") for about in embed.values()) else []
    return " ".join(said)


def cited(paragraphs: list[tuple[str, str]]) -> list[Work]:
    """The works that the paragraphs name, in the order of `WORKS`."""
    words = " ".join(paragraph for _, paragraph in paragraphs).replace("(", "").replace(")", "")
    return [work for work in WORKS.values() if work.label in words]


def _block(config: Mapping[str, Any], name: str) -> str:
    return json.dumps(config.get(name) or {}, default=str).lower()


def _data(config: Mapping[str, Any]) -> str:
    """Where the runs were read from, told apart by what a dataset's folder holds."""
    collect: Mapping[str, Any] = config.get("collect") or {}
    volumes = [str(name) for name, about in collect.items() if (about.get("layout") or "fmriprep") == "fmriprep"]
    series = [str(name) for name in collect if str(name) not in volumes]
    parts = []
    if volumes:
        parts.append(
            f"The runs of {', '.join(volumes)} were read from derivatives in the layout of fMRIPrep (Esteban et al. "
            "2019) and averaged within parcels before denoising, which equals denoising voxels first because every "
            "step is linear in time."
        )
    if series:
        parts.append(f"The runs of {', '.join(series)} were read as ready parcel series, as they were published.")
    end = "Confounds, band, sampling and normalisation are those of the recipe under Settings."
    return " ".join([*parts, end]) if parts else ""


def _atlas(config: Mapping[str, Any]) -> str:
    block = _block(config, "parcellate")
    if "demo457" in block:
        return (
            "The atlas demo457 borrows the numbers of parcels and networks of published atlases (Schaefer et al. 2018, "
            "Tian et al. 2020, Buckner et al. 2011), but its parcels are made by geometry: it is none of them."
        )
    parts = [words for word, words in _ATLASES.items() if word in block]
    return f"Atlases: {'; '.join(parts)}." if parts else ""


_QC = (
    "Motion is the mean framewise displacement (Power et al. 2012). Runs beyond the thresholds of the qc block "
    "were left out of training and testing alike. Every run that left at any stage stands in the ledger with its "
    "reason."
)
_BASELINES = {
    "majority": "The majority row sees nothing: it is what a probe says of participants who are all alike.",
    "nuisance": "The nuisance row sees no brain: run length, site, and of motion and temporal signal-to-noise ratio "
    "what is known of the runs.",
    "demographics": "The demographics row sees age and sex, unless they are what the task asks for.",
    "connectome": "The connectome is the Fisher-z transformed Pearson correlation of every pair of parcels.",
    "connectome-partial": "The partial connectome takes the other parcels out of every correlation, from the "
    "covariance shrunk after Ledoit and Wolf (2004).",
    "connectome-tangent": "The tangent connectome projects covariances at the mean of the training participants "
    "(Varoquaux et al. 2010).",
}
_KINDS = {
    "semantoks": "Semantoks models follow Brain-Semantoks (Gijsen et al. 2025): the parcels of a network become one "
    "token per patch of time, and a student learns to agree with its slowly moving teacher across views.",
    "semantoks-mae": "With the Semantoks encoder by masked autoencoding, the signals of hidden tokens are "
    "reconstructed from those that are shown (He et al. 2022).",
    "semantoks-simclr": "With the Semantoks encoder by contrast, two crops of a run are to be alike and all others of "
    "the batch unlike (Chen et al. 2020).",
    "brain-jepa": "Brain-JEPA models (Dong et al. 2024) predict the embeddings of hidden patches of parcels from those "
    "that are shown, with positions from gradients of connectivity.",
    "brainlm": "BrainLM models (Ortega Caro et al. 2024) are masked autoencoders that predict the signal of hidden "
    "patches.",
}
_FROZEN = "Encoders were frozen after training; an untrained row is the same architecture at its initial weights."
_HIDDEN = (
    "To attribute scores to networks, rows are embedded and probed again without a network and with it alone: "
    "Semantoks models see their mask token in place of what is hidden, other models are told that parcels are "
    "missing, and connectomes lack every edge that touches a hidden network."
)
_GIVEN = "Rows whose settings name weights were not trained here; the cards of these models say where they come from."
_EVALUATION = (
    "The splits of a task were made once, by participant, and are the same for every model. Whatever is fitted, "
    "scaling included, is fitted on the training part of a split, and the test part was used once. Windows and runs of "
    "a participant never lie on two sides."
)
_SCHEMES = {
    "random": "Random splits are repeated, and stratified by the target.",
    "kfold": "In k-fold splits every participant is tested once per repetition.",
    "leave-one-site-out": "Where sites are left out, each is tested once by probes that were fitted on the others.",
    "transfer": "In transfer tasks the probe is fitted on one dataset and tested on another.",
    "files": "Some splits are fixed lists that were given.",
}
_HEADS = {
    "logistic": "Classes are predicted by logistic regression,",
    "ridge": "Quantities are predicted by ridge regression,",
    "knn": "Nearest neighbours vote by cosine similarity,",
    "linear-sgd": "A linear head behind batch normalisation is trained by stochastic gradient descent on windows, "
    "whose outputs are averaged per participant (the protocol of Gijsen et al. 2025),",
}
_CHOSEN = "its strength, number of neighbours or learning rate chosen on the validation part"
_NESTED = "its strength or number of neighbours chosen by nested cross-validation"
_HARMONISED = (
    "Sites are harmonised by ComBat (Johnson et al. 2007, Fortin et al. 2018), fitted on training participants alone."
)
_CONFOUNDS = "Confounds are regressed out of the features: {}."
_FINGERPRINT = "A fingerprint has no training part: it finds a participant's other recording by the nearest embedding."
_STATISTICS = (
    "Where everybody is tested equally often (sites left out, k-fold, transfer), intervals and tests are made over "
    "participants, or families where there are some: Wilson's interval for shares (Wilson 1927), Newcombe's for AUROC "
    "(Newcombe 2006), percentiles of a bootstrap otherwise. Two models are compared by swapping their predictions "
    "within participants, which for accuracy is the exact test of McNemar 1947, and AUROC after DeLong et al. 1988; "
    "where who is tested also trains the probes of others, differences due to chance are widened to twice their "
    "variance. Over repeated random splits, intervals and tests use the variance of Nadeau and Bengio 2003, and fewer "
    "than five splits, or splits without spread, carry neither. AUROC, R² and Pearson's r are made within sites or "
    "folds, because scores of different probes are offset. Tests are two-sided and made on the leading metric of a "
    "task. Every trained model against the reference and against its untrained self are one family, corrected after "
    "Holm 1979; every other comparison is exploratory and not corrected. Mean ranks are those of Friedman 1937."
)
_PERMUTED = (
    "Against chance, the targets are dealt out anew among the participants (within each site, families as a whole); p "
    "is the share of such permutations that are at least as good (Phipson and Smyth 2010), with deviations widened as "
    "above because the probes are not fitted again. Corrected for trained models alone, in the CSV."
)
