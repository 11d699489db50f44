"""What the models draw in heads and in what is none: `.venv/bin/python scripts/measure_foreign.py DATA`.

DATA is the folder with the data sets (see foreign_samples.py). For each kind of image, prints how many there are, and
in how many `brain` and, for the first ones of each kind, `hippocampus` draw anything; and each image that is not as it
should be: a head in which nothing is drawn, and no head in which something is.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from foreign_samples import HEAD, OTHER, samples
from llmboost.inference.segment import segment
from llmboost.library import find
from llmboost.model import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--ways", type=int, default=3, help="worse forms of each head")
    parser.add_argument("--looked-closer", type=int, default=2, help="images of each kind for hippocampus")
    arguments = parser.parse_args()
    models = [load_model(find(name)) for name in ("brain", "hippocampus")]
    seen: Counter[tuple[str, str]] = Counter()
    drawn: Counter[tuple[str, str, str]] = Counter()
    asked: Counter[tuple[str, str, str]] = Counter()
    for sample in samples(arguments.data, arguments.ways):
        kind = (sample.shows, sample.kind)
        seen[kind] += 1
        for model in models if seen[kind] <= arguments.looked_closer else models[:1]:
            result = segment(model, [sample.image])
            found, name = bool(result.labelmap.array.any()), model.card.name
            asked[*kind, name] += 1
            drawn[*kind, name] += found
            if (sample.shows == HEAD and not found) or (sample.shows == OTHER and found):
                ml = sum(result.volumes_ml.values())
                print(
                    f"{sample.kind}, {sample.name}, {name}: {ml:.1f} mL; {'; '.join(result.warnings[:2])}", flush=True
                )
    print("| shows | kind | images | brain draws in | hippocampus draws in |\n|---|---|---|---|---|")
    for kind, count in sorted(seen.items()):
        shares = [f"{drawn[*kind, model.card.name]} of {asked[*kind, model.card.name]}" for model in models]
        print(f"| {' | '.join(kind)} | {count} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
