"""`llmboost fingerprint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ..errors import LLMBoostError
from .terminal import console, progress_bar


def fingerprint(
    dataset: Annotated[Path, typer.Argument(help="Data set: a folder with dataset.json, imagesTr and labelsTr.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write it to this file.")] = None,
) -> None:
    """Look at a data set to be segmented before training on it: grids, intensities, labels, and the plan.

    The cases in "train" and "val" are read, those in "test" are not.
    """
    from ..io.dataset import read_dataset
    from ..io.datasetcheck import check, settle
    from ..learn.fingerprint import Fingerprint, write_fingerprint
    from ..learn.plan import make_plan

    if json_file is not None and json_file.exists():
        raise LLMBoostError(f"{json_file}: exists already; choose another --json, or remove it")
    data = read_dataset(dataset)
    facts = Fingerprint(data)
    cases = [*data.split("train"), *data.split("val")]
    with progress_bar() as progress:
        task = progress.add_task("reading", total=len(cases))
        checked = check(data, progress.track(cases, task_id=task), seen=facts.see)
    data, checked = settle(data, checked, data.split("train"))
    plan = make_plan(data, data.split("train"), load=checked.load)
    found = facts.report(plan)
    _print(found, (*plan.reasons, *checked.notes))
    if json_file is not None:
        write_fingerprint(found, json_file)


def _print(found: dict[str, Any], plan: tuple[str, ...]) -> None:
    counts = ", ".join(f"{n} {name}" for name, n in found["cases"].items())
    console.print(f"{found['dataset']}: {counts}; {found['looked_at']} looked at, of {found['subjects']} subjects")
    grids = Table("along R, A, S", "least", "median", "largest")
    rows = (("spacing (mm)", "spacing_mm"), ("size (voxels)", "size_voxels"), ("extent (mm)", "extent_mm"))
    for name, key in rows:
        grids.add_row(name, *(_listed(found[key][which]) for which in ("min", "median", "max")))
    console.print(grids)
    axes = ", ".join(f"{name} {n}" for name, n in found["stored_axes"].items())
    console.print(f"axes as stored: {axes}; {len(found['oblique'])} oblique")
    values = Table("intensities of labeled voxels", "0.5 %", "5 %", "median", "95 %", "99.5 %", "mean", "std")
    for channel in found["foreground_intensity_properties_per_channel"].values():
        keys = ("percentile_00_5", "percentile_05", "median", "percentile_95", "percentile_99_5", "mean", "std")
        values.add_row(channel["name"], *(f"{channel[key]:.4g}" if key in channel else "-" for key in keys))
    console.print(values)
    labels = Table("label", "cases", "% of voxels", "mL", "largest extent (mm)", "pieces (median, most)")
    for label in found["labels"].values():
        cases = ", ".join(f"{n} {split}" for split, n in label["cases"].items())
        if "voxels" not in label:
            labels.add_row(label["name"], cases, "-", "-", "-", "-")
            continue
        ml, pieces = label["volume_ml"], label["pieces"]
        labels.add_row(
            label["name"],
            cases,
            f"{100 * label['share_of_voxels']:.2g}",
            f"{ml['median']:.3g} ({ml['min']:.3g} to {ml['max']:.3g})",
            _listed(label["extent_mm"]["max"]),
            f"{pieces['median']:g}, {pieces['max']:g}",
        )
    console.print(labels)
    console.print("plan of a training:")
    for line in plan:
        console.print(f"  {line}")


def _listed(values: list[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
