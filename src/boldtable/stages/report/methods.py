"""The methods text of the page and the works it cites, chosen by what the config says was used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Work:
    """One cited work: how the text names it, and its BibTeX entry."""

    label: str
    bibtex: str


def _entry(kind: str, key: str, **fields: str) -> str:
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@{kind}{{{key},\n{lines}\n}}"


WORKS: dict[str, Work] = {
    "nadeau": Work("Nadeau and Bengio 2003", _entry(
        "article", "nadeau2003", author="Nadeau, Claude and Bengio, Yoshua",
        title="Inference for the Generalization Error", journal="Machine Learning", volume="52", number="3",
        pages="239--281", year="2003", doi="10.1023/A:1024068626366",
    )),
    "holm": Work("Holm 1979", _entry(
        "article", "holm1979", author="Holm, Sture", title="A Simple Sequentially Rejective Multiple Test Procedure",
        journal="Scandinavian Journal of Statistics", volume="6", number="2", pages="65--70", year="1979",
    )),
    "phipson": Work("Phipson and Smyth 2010", _entry(
        "article", "phipson2010", author="Phipson, Belinda and Smyth, Gordon K.",
        title="Permutation P-values Should Never Be Zero: Calculating Exact P-values When Permutations Are Randomly "
        "Drawn", journal="Statistical Applications in Genetics and Molecular Biology", volume="9", number="1",
        year="2010", doi="10.2202/1544-6115.1585",
    )),
    "ledoit": Work("Ledoit and Wolf 2004", _entry(
        "article", "ledoit2004", author="Ledoit, Olivier and Wolf, Michael",
        title="A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices",
        journal="Journal of Multivariate Analysis", volume="88", number="2", pages="365--411", year="2004",
        doi="10.1016/S0047-259X(03)00096-4",
    )),
    "varoquaux": Work("Varoquaux et al. 2010", _entry(
        "inproceedings", "varoquaux2010", author="Varoquaux, Gaël and Baronnet, Flore and Kleinschmidt, Andreas and "
        "Fillard, Pierre and Thirion, Bertrand",
        title="Detection of Brain Functional-Connectivity Difference in Post-Stroke Patients Using Group-Level "
        "Covariance Modeling", booktitle="Medical Image Computing and Computer-Assisted Intervention", year="2010",
        doi="10.1007/978-3-642-15705-9_25",
    )),
    "jepa": Work("Dong et al. 2024", _entry(
        "inproceedings", "dong2024brainjepa", author="Dong, Zijian and others",
        title="{Brain-JEPA}: Brain Dynamics Foundation Model with Gradient Positioning and Spatiotemporal Masking",
        booktitle="Advances in Neural Information Processing Systems", year="2024", eprint="2409.19407",
        archivePrefix="arXiv",
    )),
    "brainlm": Work("Ortega Caro et al. 2024", _entry(
        "inproceedings", "ortegacaro2024brainlm", author="Ortega Caro, Josue and others",
        title="{BrainLM}: A Foundation Model for Brain Activity Recordings",
        booktitle="International Conference on Learning Representations", year="2024",
    )),
    "mae": Work("He et al. 2022", _entry(
        "inproceedings", "he2022masked", author="He, Kaiming and Chen, Xinlei and Xie, Saining and Li, Yanghao and "
        "Doll{\\'a}r, Piotr and Girshick, Ross", title="Masked Autoencoders Are Scalable Vision Learners",
        booktitle="IEEE/CVF Conference on Computer Vision and Pattern Recognition", year="2022",
        eprint="2111.06377", archivePrefix="arXiv",
    )),
    "simclr": Work("Chen et al. 2020", _entry(
        "inproceedings", "chen2020simple", author="Chen, Ting and Kornblith, Simon and Norouzi, Mohammad and "
        "Hinton, Geoffrey", title="A Simple Framework for Contrastive Learning of Visual Representations",
        booktitle="International Conference on Machine Learning", year="2020", eprint="2002.05709",
        archivePrefix="arXiv",
    )),
    "semantoks": Work("Gijsen et al. 2025", _entry(
        "misc", "gijsen2025semantoks", author="Gijsen, Sam and Schulz, Marc-Andre and Ritter, Kerstin",
        title="Brain-Semantoks: Learning Semantic Tokens of Brain Dynamics with a Self-Distilled Foundation Model",
        eprint="2512.11582", archivePrefix="arXiv", year="2025",
    )),
    "power": Work("Power et al. 2012", _entry(
        "article", "power2012",
        author="Power, Jonathan D. and Barnes, Kelly A. and Snyder, Abraham Z. and Schlaggar, Bradley L. and "
        "Petersen, Steven E.",
        title="Spurious but Systematic Correlations in Functional Connectivity MRI Networks Arise from Subject Motion",
        journal="NeuroImage", volume="59", number="3", pages="2142--2154", year="2012",
        doi="10.1016/j.neuroimage.2011.10.018",
    )),
    "fmriprep": Work("Esteban et al. 2019", _entry(
        "article", "esteban2019", author="Esteban, Oscar and others",
        title="{fMRIPrep}: a Robust Preprocessing Pipeline for Functional {MRI}", journal="Nature Methods", volume="16",
        pages="111--116", year="2019", doi="10.1038/s41592-018-0235-4",
    )),
    "schaefer": Work("Schaefer et al. 2018", _entry(
        "article", "schaefer2018", author="Schaefer, Alexander and others",
        title="Local-Global Parcellation of the Human Cerebral Cortex from Intrinsic Functional Connectivity {MRI}",
        journal="Cerebral Cortex", volume="28", number="9", pages="3095--3114", year="2018",
        doi="10.1093/cercor/bhx179",
    )),
    "tian": Work("Tian et al. 2020", _entry(
        "article", "tian2020",
        author="Tian, Ye and Margulies, Daniel S. and Breakspear, Michael and Zalesky, Andrew",
        title="Topographic Organization of the Human Subcortex Unveiled with Functional Connectivity Gradients",
        journal="Nature Neuroscience", volume="23", pages="1421--1432", year="2020", doi="10.1038/s41593-020-00711-6",
    )),
    "buckner": Work("Buckner et al. 2011", _entry(
        "article", "buckner2011",
        author="Buckner, Randy L. and Krienen, Fenna M. and Castellanos, Angela and Diaz, Julio C. and "
        "Yeo, B. T. Thomas",
        title="The Organization of the Human Cerebellum Estimated by Intrinsic Functional Connectivity",
        journal="Journal of Neurophysiology", volume="106", number="5", pages="2322--2345", year="2011",
        doi="10.1152/jn.00339.2011",
    )),
}  # fmt: skip

_ATLASES = {
    "schaefer": "cortical parcels and networks after Schaefer et al. (2018)",
    "tian": "subcortical parcels after Tian et al. (2020)",
    "buckner": "cerebellar networks after Buckner et al. (2011)",
}


def text(config: Mapping[str, Any], trained: bool, permuted: bool = False) -> list[tuple[str, str]]:
    """Paragraphs as (heading, text): only what the config shows to be true of this table, or holds for all."""
    found = [("Data", _data(config)), ("Atlas", _atlas(config)), ("Quality control", _QC)]
    found.append(("Models", _models(config, trained)))
    statistics = " ".join([_STATISTICS, *([_PERMUTED] if permuted else [])])
    return [(head, words) for head, words in [*found, ("Evaluation", _EVALUATION), ("Statistics", statistics)] if words]


def _models(config: Mapping[str, Any], trained: bool) -> str:
    """A sentence per kind of model that the config names."""
    embed, pretrain = config.get("embed") or {}, config.get("pretrain") or {}
    encoders = {str((about or {}).get("encoder")) for about in embed.values()}
    kinds = {str((about or {}).get("model", "semantoks")) for about in pretrain.values()}
    kinds |= {"semantoks"} if trained and not pretrain else set()
    said = [words for encoder, words in _BASELINES.items() if encoder in encoders]
    said += [words for kind, words in _KINDS.items() if kind in kinds and trained]
    said += [_FROZEN] if trained else []
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
    return f"The atlas has {', '.join(parts)}." if parts else ""


_QC = (
    "Motion is the mean framewise displacement (Power et al. 2012). Runs beyond the thresholds of the qc block "
    "were left out of training and testing alike. Every run that left at any stage stands in the ledger with its "
    "reason."
)
_BASELINES = {
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
_GIVEN = "Rows whose settings name weights were not trained here; the cards of these models say where they come from."
_EVALUATION = (
    "The splits of a task were made once, by participant, and are the same for every model. A probe was fitted on"
    " the training part of each split, its settings were chosen on the validation part, and the test part was "
    "used once. Windows and runs of a participant never lie on two sides. A fingerprint has no training part: it "
    "finds a participant's other recording by the nearest embedding."
)
_STATISTICS = (
    "Intervals and tests over splits use the variance of Nadeau and Bengio 2003, which accounts for the "
    "participants that splits share; tests are paired and two-sided. Two families are corrected after Holm 1979, "
    "each over the whole table: the comparisons printed under Comparisons, and the comparisons with the best of "
    "each column that give the mark †. Only the primary metric of a task is tested. In simulations without any "
    "difference this test errs in 4 to 6 % of cases at a level of 5 %, the usual paired t-test over ten splits in 28 %."
)
_PERMUTED = (
    "Against chance, the targets are dealt out anew among the participants, who keep theirs in every split; p is the "
    "share of such permutations that are at least as good (Phipson and Smyth 2010), with deviations widened to the "
    "same corrected variance because the probes are not fitted again, and corrected after Holm as a third family."
)
