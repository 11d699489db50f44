"""What the label maps hold, and which of it a network learns to tell apart: ``COARSE`` at 4 mm, ``FINE`` at 1 mm.

Values up to 85 are those of FreeSurfer's FreeSurferColorLUT.txt. The maps of SynthSeg add four of the choroid plexus
(136, 137, 163, 164: FreeSurfer's 31 and 63, see BBillot/SynthSeg issue 119), and tissues outside the brain from 502 on,
whose names here were read off the maps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from llmboost.card import LEFT, RIGHT, Code, Label


@dataclass(frozen=True)
class Structure:
    """One structure of the brain: the map's values of its left and right part, or, if it has no sides, ``left`` alone.

    Codes are those of DICOM's context group 7140, "Brain Structure for Volumetric Measurement", as far as it has one.
    """

    name: str
    type: Code
    color: tuple[int, int, int]
    left: tuple[int, ...]
    right: tuple[int, ...] = ()


COARSE = (
    Structure("hippocampus", Code("SCT", "5366008", "Hippocampus"), (230, 159, 0), (17,), (53,)),
    Structure("amygdala", Code("SCT", "4958002", "Amygdala"), (0, 158, 115), (18,), (54,)),
    # with its inferior horn and the choroid plexus
    Structure(
        "lateral ventricle",
        Code("SCT", "66720007", "Lateral Ventricle"),
        (86, 180, 233),
        (4, 5, 136, 137),
        (43, 44, 163, 164),
    ),
    Structure("thalamus", Code("SCT", "119406000", "Thalamus"), (0, 114, 178), (10,), (49,)),
    # with the nucleus accumbens, which continues it
    Structure("caudate nucleus", Code("SCT", "11000004", "Caudate Nucleus"), (213, 94, 0), (11, 26), (50, 58)),
    Structure("putamen", Code("SCT", "89278009", "Putamen"), (204, 121, 167), (12,), (51,)),
    Structure("globus pallidus", Code("SCT", "14738005", "Globus Pallidus"), (240, 228, 66), (13,), (52,)),
    Structure("ventral diencephalon", Code("DCM", "110700", "Ventral Diencephalon"), (165, 42, 42), (28,), (60,)),
    # with the lesions and the vessels within it
    Structure(
        "cerebral white matter",
        Code("SCT", "68523003", "Cerebral White Matter"),
        (245, 245, 245),
        (2, 25, 30),
        (41, 57, 62),
    ),
    Structure("cerebral cortex", Code("SCT", "40146001", "Cerebral Gray Matter"), (160, 160, 170), (3,), (42,)),
    # cortex and white matter
    Structure("cerebellum", Code("SCT", "113305005", "Cerebellum"), (230, 148, 34), (7, 8), (46, 47)),
    Structure("brain stem", Code("SCT", "119238007", "Brain Stem"), (119, 159, 176), (16,)),
    # third, fourth and fifth ventricle, the space around the brain, and the optic chiasm that lies in it
    Structure(
        "cerebrospinal fluid", Code("SCT", "65216001", "Cerebrospinal Fluid"), (60, 60, 200), (14, 15, 24, 72, 85)
    ),
)


def _told_apart() -> Iterator[Structure]:
    """The coarse structures, some of them in parts."""
    for structure in COARSE:
        match structure.name:
            case "caudate nucleus":
                yield replace(structure, left=(11,), right=(50,))
                code = Code("SCT", "427667007", "Nucleus accumbens")
                yield Structure("nucleus accumbens", code, (255, 165, 0), (26,), (58,))
            case "cerebellum":
                code = Code("SCT", "33060004", "Cerebellar white matter")
                yield Structure("cerebellar cortex", structure.type, structure.color, (8,), (47,))
                yield Structure("cerebellar white matter", code, (220, 248, 164), (7,), (46,))
            case "cerebrospinal fluid":
                third, fourth = Code("SCT", "49841001", "Third ventricle"), Code("SCT", "35918002", "Fourth ventricle")
                yield Structure("third ventricle", third, (204, 182, 142), (14,))
                yield Structure("fourth ventricle", fourth, (42, 204, 164), (15,))
                yield replace(structure, left=(24, 72, 85))
            case _:
                yield structure


FINE = tuple(_told_apart())

# outside the brain: arteries, eyes, soft tissue, eye muscles, mucosa, skin, spinal cord, veins, compact and spongy
# bone, optic nerve
OUTSIDE = (502, 506, 507, 508, 509, 511, 512, 514, 515, 516, 530)

# what looks alike in most contrasts
FLUID = (4, 5, 14, 15, 24, 72, 506)
GRAY = (3, 8, 11, 17, 18, 26, 136, 137)
WHITE = (2, 7, 85, 512, 530)
BETWEEN = (10, 12, 13, 16, 28)  # gray matter with many fibers, or the reverse
BONE = (515,)
LESION = 25


def head_labels(structures: Sequence[Structure] = COARSE) -> tuple[Label, ...]:
    """The network's classes above background: each structure in turn, left before right."""
    labels: list[Label] = []
    for structure in structures:
        for side, values in ((LEFT, structure.left), (RIGHT, structure.right)):
            if values:
                name = f"{side.meaning} {structure.name}" if structure.right else structure.name.capitalize()
                modifier = side if structure.right else None
                labels.append(Label(len(labels) + 1, name, structure.color, type=structure.type, modifier=modifier))
    return tuple(labels)


def class_of(structures: Sequence[Structure] = COARSE) -> dict[int, int]:
    """The network's class of each value of the maps; what lies outside the brain is background."""
    sides = [values for structure in structures for values in (structure.left, structure.right) if values]
    inside = {value: n for n, values in enumerate(sides, start=1) for value in values}
    return {0: 0, **inside, **dict.fromkeys(OUTSIDE, 0)}


def other_side() -> dict[int, int]:
    """The value that each value of the maps has in a mirror."""
    pairs = [pair for s in COARSE if s.right for pair in zip(s.left, s.right, strict=True)]
    swapped = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    return {value: swapped.get(value, value) for value in class_of()}


def as_left() -> dict[int, int]:
    """The value of the left side's equal, of a value on either side."""
    mirrored = other_side()
    right = {value for structure in COARSE for value in structure.right}
    return {value: mirrored[value] if value in right else value for value in mirrored}
