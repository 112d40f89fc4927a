"""Schaefer-400 from TemplateFlow: a second source where the authors' files cannot be had."""

from __future__ import annotations

from pathlib import Path

from boldtable.errors import InputError

TEMPLATEFLOW = "https://www.templateflow.org (tpl-MNI152NLin6Asym, Schaefer2018, 400Parcels7Networks, res-02)"


def schaefer_from_templateflow() -> tuple[Path, Path]:
    """Return the paths of image and table (index, name) in MNI152NLin6Asym at 2 mm.

    TemplateFlow keeps its own cache (TEMPLATEFLOW_HOME). The index order, network and hemisphere of every parcel agree
    with the authors' files; 66 names are older. Raises `InputError` when TemplateFlow cannot be reached either.
    """
    what = {"atlas": "Schaefer2018", "desc": "400Parcels7Networks", "suffix": "dseg"}
    try:
        from templateflow import api  # asks the network for its index when imported, so only where needed

        image = api.get("MNI152NLin6Asym", resolution=2, extension=".nii.gz", **what)
        names = api.get("MNI152NLin6Asym", extension=".tsv", **what)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise InputError(f"TemplateFlow cannot give Schaefer-400: {' '.join(str(error).split())}") from None
    if not isinstance(image, Path) or not isinstance(names, Path):
        raise InputError(f"TemplateFlow has no single Schaefer-400 image and table (found {image} and {names})")
    return image, names


def transform_from_templateflow(from_space: str, to_space: str) -> Path:
    """Return the path of TemplateFlow's transform (ITK composite, HDF5) that brings images to another template.

    Raises `InputError` when TemplateFlow cannot be reached, has none, or its cache holds an empty file.
    """
    what = {"from": from_space, "mode": "image", "suffix": "xfm", "extension": ".h5"}
    try:
        from templateflow import api  # asks the network for its index when imported, so only where needed

        path = api.get(to_space, **what)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"TemplateFlow cannot give the transform to {to_space}: {reason}") from None
    if not isinstance(path, Path) or not path.is_file() or not path.stat().st_size:
        raise InputError(f"TemplateFlow has no transform from {from_space} to {to_space} at hand (found {path})")
    return path
