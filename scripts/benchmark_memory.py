"""What a scan's size costs: `.venv/bin/python scripts/benchmark_memory.py [MODEL] [IxJxK ...]`.

Segments a made-up int16 scan of each size (1 mm voxels; 128x128x128, 256x256x256 and 512x512x600 unless given) with the
command line on the CPU and prints seconds and peak memory of the whole process, from the file to the result's file.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

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
            # in a process of its own, for its children's peak is the largest of all
            seconds, gigabytes, message = _measured(model, scan, Path(folder) / "out")
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


def _measured(model: str, scan: Path, output: Path) -> tuple[float, float, str]:
    command = [sys.executable, "-m", "llmboost", "segment", scan, "--model", model, "--output", output, "--device=cpu"]
    child = (
        "import resource, subprocess, sys;"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True);"
        "print(done.stdout.splitlines()[-1] if done.stdout else done.returncode);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    started = time.perf_counter()
    said = subprocess.run([sys.executable, "-c", child, *command], stdout=subprocess.PIPE, text=True, check=True).stdout
    seconds = time.perf_counter() - started
    message, kilobytes = said.splitlines()[-2:]
    unit = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes
    return seconds, int(kilobytes) / unit, message


if __name__ == "__main__":
    main()
