"""Where a row's data set comes from: the folder of data, written in the Decathlon's form where need be, or made up."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..io.dataset import Dataset, read_dataset
from .heads import write_heads
from .kinds import Context
from .organs import write_organs
from .phantom import write_phantom
from .subjects import with_subjects
from .sunnybrook import write_sunnybrook

PHANTOM = "phantom"
# data in a form of their own
WRITTEN = {"sunnybrook_lv": write_sunnybrook, "heads_t1_flair_2mm": write_heads, "viewer": write_organs}


def read_source(name: str, context: Context, sides: int) -> Dataset:
    """A data set in the folder of data, one of ``WRITTEN`` there, or ``phantom``; with ``subjects`` of every case, see
    :func:`.subjects.with_subjects`."""
    folder = context.data / name
    if name == PHANTOM:
        folder = context.folder / PHANTOM
        write_phantom(folder)
    elif name in WRITTEN:
        # beside the rows' folders, for all of them
        source, folder = folder, context.folder.parent / name
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=context.folder) as temporary:
                WRITTEN[name](source, Path(temporary) / name)
                (Path(temporary) / name).rename(folder)
    return with_subjects(read_dataset(folder), sides)
