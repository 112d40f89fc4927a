"""The works that the methods text of the page can cite, and their BibTeX entries."""

from __future__ import annotations

from dataclasses import dataclass


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
    "wilson": Work("Wilson 1927", _entry(
        "article", "wilson1927", author="Wilson, Edwin B.",
        title="Probable Inference, the Law of Succession, and Statistical Inference",
        journal="Journal of the American Statistical Association", volume="22", number="158", pages="209--212",
        year="1927", doi="10.1080/01621459.1927.10502953",
    )),
    "newcombe": Work("Newcombe 2006", _entry(
        "article", "newcombe2006", author="Newcombe, Robert G.",
        title="Confidence Intervals for an Effect Size Measure Based on the {Mann--Whitney} Statistic. Part 2",
        journal="Statistics in Medicine", volume="25", number="4", pages="559--573", year="2006",
        doi="10.1002/sim.2324",
    )),
    "mcnemar": Work("McNemar 1947", _entry(
        "article", "mcnemar1947", author="McNemar, Quinn",
        title="Note on the Sampling Error of the Difference between Correlated Proportions or Percentages",
        journal="Psychometrika", volume="12", number="2", pages="153--157", year="1947", doi="10.1007/BF02295996",
    )),
    "delong": Work("DeLong et al. 1988", _entry(
        "article", "delong1988", author="DeLong, Elizabeth R. and DeLong, David M. and Clarke-Pearson, Daniel L.",
        title="Comparing the Areas under Two or More Correlated Receiver Operating Characteristic Curves",
        journal="Biometrics", volume="44", number="3", pages="837--845", year="1988", doi="10.2307/2531595",
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
    "combat": Work("Johnson et al. 2007", _entry(
        "article", "johnson2007", author="Johnson, W. Evan and Li, Cheng and Rabinovic, Ariel",
        title="Adjusting Batch Effects in Microarray Expression Data Using Empirical {Bayes} Methods",
        journal="Biostatistics", volume="8", number="1", pages="118--127", year="2007",
        doi="10.1093/biostatistics/kxj037",
    )),
    "fortin": Work("Fortin et al. 2018", _entry(
        "article", "fortin2018", author="Fortin, Jean-Philippe and others",
        title="Harmonization of Cortical Thickness Measurements across Scanners and Sites", journal="NeuroImage",
        volume="167", pages="104--120", year="2018", doi="10.1016/j.neuroimage.2017.11.024",
    )),
    "friedman": Work("Friedman 1937", _entry(
        "article", "friedman1937", author="Friedman, Milton",
        title="The Use of Ranks to Avoid the Assumption of Normality Implicit in the Analysis of Variance",
        journal="Journal of the American Statistical Association", volume="32", number="200", pages="675--701",
        year="1937", doi="10.1080/01621459.1937.10503522",
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
    "glasser": Work("Glasser et al. 2016", _entry(
        "article", "glasser2016", author="Glasser, Matthew F. and others",
        title="A Multi-Modal Parcellation of Human Cerebral Cortex", journal="Nature", volume="536", number="7615",
        pages="171--178", year="2016", doi="10.1038/nature18933",
    )),
    "craddock": Work("Craddock et al. 2012", _entry(
        "article", "craddock2012",
        author="Craddock, R. Cameron and James, G. Andrew and Holtzheimer, Paul E. and Hu, Xiaoping P. and "
        "Mayberg, Helen S.",
        title="A Whole Brain {fMRI} Atlas Generated via Spatially Constrained Spectral Clustering",
        journal="Human Brain Mapping", volume="33", number="8", pages="1914--1928", year="2012",
        doi="10.1002/hbm.21333",
    )),
}  # fmt: skip
