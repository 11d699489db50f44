"""Starts Python and stays as its parent, as PythonSlicer does: `python launcher.py ARGUMENTS`."""

import subprocess
import sys

sys.exit(1 if subprocess.run([sys.executable, *sys.argv[1:]], check=False).returncode else 0)
