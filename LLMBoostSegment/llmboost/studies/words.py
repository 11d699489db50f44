"""What the words of people say of an image: its sequence, the body's region, what it was computed from.

Descriptions are free text in many spellings. A word counts where it stands alone between marks and blanks, as in
"t1_mprage_sag" or "AX T2 FLAIR"; what is not in these tables says nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


# what no model of anatomy takes: (what it is called, words of a description, values of ImageType)
_UNFIT = (
    (
        "a localizer",
        "loc localizer localiser localizador localisateur scout scouts survey topogram topo surview scanogram"
        " 3planeloc 3plloc planscan calibration asset smartprep monitoring premonitoring testbolus",
        "LOCALIZER",
    ),
    (
        "a dose report or protocol",
        "dosereport doseinfo doserecord protocolpage patientprotocol examsummary phoenixzipreport report",
        "DOSE",
    ),
    ("a screen shot", "screenshot screensave screencapture", "SCREENSAVE SCREENSHOT"),
    (
        "a projection",
        "mip mips minip thinmip vrt ssd projection projections",
        "MIP MINIP MNIP MAXIP PROJECTION PROJECTIONIMAGE MAXIMUMINTENSITYPROJECTION VOLUMERENDERING VRT SSD",
    ),
    (
        "a computed map",
        "adc eadc fa colfa tensor cbf cbv rcbv rcbf mtt ttp tmax t1map t2map b0map fieldmap subtraction"
        " phasediff phase1 phase2",
        "ADC EADC FA TENSOR CBF CBV RCBV RCBF MTT TTP TMAX PHASE P PHASEMAP FIELDMAP SUBTRACTION T1MAP T2MAP",
    ),
    ("no magnitude image", "partphase partreal partimag", ""),  # as BIDS says it
)
_DERIVED = (
    "mpr reformat reformatted reformation recon3d multiplanar",
    "DERIVED MPR REFORMATTED RESAMPLED CURVEDMPR",
)

# in this order: "T2 FLAIR" is a FLAIR, "T1 FLAIR" a T1, and what is special says so besides
_SEQUENCES = {
    "diffusion": "dwi dti diff diffusion adc trace dki hardi noddi",
    "perfusion": "perf perfusion m0scan asl pasl pcasl dsc dce pwi",
    "functional": "bold fmri resting sbref magnitude1 magnitude2",
    "angiography": "tof mra angio cta mrv pca",
    "spectroscopy": "mrs spectroscopy svs csi",
    "susceptibility": "swi swan t2star t2s hemo medic gre qsm",
    "single inversion": "inv1 inv2",  # of MP2RAGE, of which the uniform image is the T1
    "T1": "t1 t1w t1n t1c t1ce t1gd t1weighted mprage mp2rage unit1 spgr fspgr bravo vibe tfl",
    "FLAIR": "flair t2flair darkfluid tirm",
    "T2": "t2 t2w t2weighted haste ssfse trufi ciss fiesta",
    "PD": "pd pdw protondensity",
    "STIR": "stir",
}
_PLAIN = ("T1", "FLAIR", "T2", "PD", "STIR")  # of the anatomy

_REGIONS = {
    "head": "head brain skull cranial cranium cerebral cerebrum cerebellum neuro hippocampus hippocampi hippocampal"
    " orbit orbits sella pituitary iac thalamus",
    "neck": "neck larynx thyroid parotid carotid carotids cervical",
    "spine": "spine spinal cspine tspine lspine lumbar vertebra vertebrae vertebral sacrum cervical",
    "chest": "chest thorax thoracic lung lungs pulmonary lobe heart cardiac aorta myocardium rib ribs coronary",
    "breast": "breast breasts mamma mammography",
    "abdomen": "abdomen abdominal liver hepatic kidney kidneys renal spleen pancreas gallbladder adrenal stomach bowel"
    " colon mrcp",
    "pelvis": "pelvis pelvic prostate bladder rectum rectal uterus hip hips femur",
    "knee": "knee knees patella meniscus",
    "shoulder": "shoulder shoulders humerus scapula",
    "limb": "foot ankle hand wrist elbow leg legs arm tibia forearm finger toe",
}
_WHOLE = "wholebody wb"  # of all regions
_KERNELS = {"bone": "bone bones boneplus sharp edge knochen", "lung": "lung lungs"}
_AGENT = _listed(
    "gd gado ce post postcontrast postgd cplus withcontrast contrastenhanced kontrast gadolinium dotarem km +c"
)
_NATIVE = _listed("pre native nativ noncontrast nocontrast plain without non")
_NEGATED = re.compile(r"\b(?:without|no|w/?o|ohne|not|nicht|sans)\s+\S+")
# of siemens' names of kernels, the number tells how sharp it is: B70f, Br64, Bl57
_SHARP_KERNEL = re.compile(r"^[bBhHuUtT][a-z]?(?:[5-9]\d)[a-z]?")


def _in_order(text: str) -> list[str]:
    """The words of a text in small letters, and each two and three that follow each other, put together."""
    parts = re.findall(r"\+c\b|[a-z0-9]+", text.casefold().replace("*", "star"))
    return ["".join(parts[n : n + k]) for n in range(len(parts)) for k in (1, 2, 3)]


@lru_cache(maxsize=4096)
def words_of(text: str) -> frozenset[str]:
    """The same as a set."""
    return frozenset(_in_order(text))


def unfit(description: str, kinds: tuple[str, ...]) -> str:
    """What an image is that no model of anatomy takes; empty for others."""
    said, types = words_of(description), {_plain(kind) for kind in kinds}
    return next(
        (what for what, words, values in _UNFIT if said & _listed(words) or types & _listed(values)),
        "",
    )


def derived(description: str, kinds: tuple[str, ...]) -> str:
    """Whether an image was made of others: "reformatted" or "derived"; empty where nothing says so.

    Some call an original T1 "MPR", for MPRAGE: where ImageType says "original", the description does not count.
    """
    types = {_plain(kind) for kind in kinds}
    said = frozenset() if "ORIGINAL" in types else words_of(description)
    if said & _listed(_DERIVED[0]) or types & _listed(_DERIVED[1]) - {"DERIVED"}:
        return "reformatted"
    return "derived" if "DERIVED" in types else ""


def sequences(text: str) -> tuple[str, ...]:
    """The sequences of MR that are named, in the order in which they are."""
    names = {word: name for name, words in _SEQUENCES.items() for word in words.split()}
    return tuple(dict.fromkeys(names[word] for word in _in_order(text) if word in names))


def sequence(text: str) -> str:
    """The one sequence that a series is of; empty where nothing says so."""
    named = sequences(text)
    return next((name for name in _SEQUENCES if name in named), "")


def is_plain(name: str) -> bool:
    """Whether a sequence shows anatomy, first of all; so does one that is not known."""
    return not name or name in _PLAIN


def regions(text: str) -> frozenset[str]:
    """The regions of the body that are named."""
    said = words_of(text)
    if said & _listed(_WHOLE):
        return frozenset(_REGIONS)
    return frozenset(name for name, words in _REGIONS.items() if said & _listed(words))


def with_agent(text: str) -> bool:
    """Whether a contrast agent is spoken of."""
    said = words_of(_NEGATED.sub(" ", text.casefold()))
    return bool(said & _AGENT) and not said & _NATIVE


def kernel(text: str, name: str) -> str:
    """For what a CT was reconstructed, by its description and the kernel's name: "bone" or "lung"; else empty."""
    said = words_of(f"{text} {name}")
    found = next((what for what, words in _KERNELS.items() if said & _listed(words)), "")
    return found or ("bone" if _SHARP_KERNEL.match(name) else "")


def _plain(kind: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", kind.upper())
