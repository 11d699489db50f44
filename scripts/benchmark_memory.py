"""What a scan's size costs: `.venv/bin/python scripts/benchmark_memory.py [MODEL] [IxJxK ...]`.

Segments a made-up int16 scan of each size (1 mm voxels; 128x128x128, 256x256x256 and 512x512x600 unless given) with the
command line on the CPU and prints seconds and peak memory of the whole process, from the file to the result's file.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from llmboost.bench.footprint import measured

SIZES = ("128x128x128", "256x256x256", "512x512x600")


def main() -> None:
    sizes = [argument for argument in sys.argv[1:] if re.fullmatch(r"\d+x\d+x\d+", argument)]
    model = next((argument for argument in sys.argv[1:] if argument not in sizes), "hippocampus")
    first = None
    for size in sizes or SIZES:
        shape = tuple(int(n) for n in size.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            scan = Path(folder) / "scan.nii"
            _write_scan(shape, scan)
            where: list[str | Path] = ["--output", Path(folder) / "out", "--device=cpu"]
            command = [sys.executable, "-m", "llmboost", "segment", scan, "--model", model, *where]
            seconds, gigabytes, message = measured(command)
        per_voxel = seconds / np.prod(shape)
        first = first or per_voxel
        print(
            f"{size}: {seconds:.1f} s, peak {gigabytes:.2f} GB; time a voxel is {per_voxel / first:.2f} of the first"
            f" size's. {message}",
            flush=True,
        )


def _write_scan(shape: tuple[int, ...], path: Path) -> None:
    random = np.random.default_rng(0)
    scan = np.empty(shape[::-1], np.int16)
    for plane in scan:  # noise of the whole at once would take eight bytes a voxel
        plane[...] = random.normal(100, 30, plane.shape)
    sitk.WriteImage(sitk.GetImageFromArray(scan), str(path))


if __name__ == "__main__":
    main()
