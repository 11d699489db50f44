"""Words for the kinds of images: one list and one comparison, for the engine and the panels.

The kinds are DICOM's terms (PS3.3, C.7.3.1.1.1); data sets and people call the same kinds by other words.
Standard library alone.
"""

from __future__ import annotations

import re

# DICOM's term -> what else calls it so, in small letters and without marks
_WORDS: dict[str, tuple[str, ...]] = {
    "CT": ("cbct", "tomodensitometry", "computedtomography", "ctperfusion"),
    "MR": (
        *("mri", "nmr", "fmri", "mrt", "irm", "magneticresonance", "mra"),
        *("t1", "t1w", "t1gd", "t1ce", "t1c", "t1n", "t2", "t2w", "t2f", "t2star", "pd", "pdw", "flair"),
        *("dwi", "dti", "adc", "swi", "bold", "mprage", "space", "stir", "dixon", "dce"),
    ),
    "PT": ("pet", "positronemissiontomography"),
    "NM": ("spect", "scintigraphy"),
    "US": ("ultrasound", "sonography", "ultrasonography", "echocardiography", "bmode"),
    "IVUS": (),
    "DX": ("cr", "rg", "xr", "xray", "radiograph", "radiography", "cxr", "projectionradiography"),
    "MG": ("mammography", "mammogram"),
    "XA": ("angiography", "dsa"),
    "RF": ("fluoroscopy",),
    "OP": ("fundus", "fundusphotography", "ophthalmicphotography", "cfp"),
    "OPT": ("oct", "ophthalmictomography", "opticalcoherencetomography"),
    "XC": ("dermoscopy", "photography", "externalcameraphotography"),
    "ES": ("endoscopy", "colonoscopy"),
    "SM": ("gm", "histology", "histopathology", "pathology", "slidemicroscopy", "microscopy"),
    "SEG": ("mask", "labelmap", "segmentation", "segment"),
}
_TERM = {word: kind for kind, words in _WORDS.items() for word in (kind.lower(), *words)}


def term(word: str) -> str:
    """DICOM's term for a kind of image; empty for what is none, such as "OT" (other) or a word that is not known.

    Two terms for projection X-rays are one kind here: "CR" is "DX".
    """
    text = word.lower().replace("x-ray", "xray").replace("x ray", "xray")
    if known := _TERM.get(re.sub(r"[\W_]", "", text)):
        return known
    found = {_TERM[part] for part in re.split(r"[\W_]+", text) if part in _TERM}  # "T1-weighted", "chest X-ray"
    return found.pop() if len(found) == 1 else ""


def differ(told: str, expected: str) -> bool:
    """Whether an image is known to be of another kind than is expected.

    Args:
        told: the word for the image.
        expected: the word, or, of a model with several channels, the words between commas.
    """
    kinds = {term(word) for word in expected.split(",")} - {""}
    kind = term(told)
    return bool(kind and kinds) and kind not in kinds
