"""Copy a data set as if another scanner had made it: `.venv/bin/python scripts/shift_hippocampus.py DATASET OUTPUT`.

What is done to the images stands in llmboost/bench/shift.py. The recipe `adapt_site_shift` does the same by itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from llmboost.bench.shift import shift_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    shift_dataset(arguments.dataset, arguments.output)


if __name__ == "__main__":
    main()
