"""Pictures of LLMBoost strokes for its tutorial, step by step: `python3 scripts/strokes_pictures.py [FOLDER]`.

They are taken in the tests' stand-in for 3D Slicer (Testing/gui/strokespictures.py), by default into Resources/. The
real worker answers; that takes about a minute.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bootstrap import ROOT, VENV, run_in_environment


def main(arguments: list[str]) -> int:
    if Path(sys.prefix) != VENV:
        return run_in_environment([__file__, *arguments])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "Resources", help="where the pictures go")
    folder = parser.parse_args(arguments).folder
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    sys.path[:0] = [str(ROOT), str(ROOT / "LLMBoostSegment")]
    from Testing.host import start

    start()  # what follows imports what needs the application
    from Testing.gui.strokespictures import takePictures

    takePictures(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
