"""Pictures for docs/import.md: a model that nnU-Net trained is imported, found by an organ's other name, its card read.

The folder is written here, with TotalSegmentator's names of organs and random weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from Testing.engine.nnunet_samples import nnunet_network, write_results
from Testing.gui.panelcase import grabPanel
from Testing.gui.qthost import Host, choose, click, typeText

ORGANS = [
    *("spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "pancreas", "adrenal_gland_right"),
    *("adrenal_gland_left", "lung_upper_lobe_left", "lung_lower_lobe_left", "lung_upper_lobe_right"),
    *("lung_middle_lobe_right", "lung_lower_lobe_right", "esophagus", "trachea", "thyroid_gland", "small_bowel"),
    *("duodenum", "colon", "urinary_bladder", "prostate", "kidney_cyst_left", "kidney_cyst_right"),
]
PATIENCE = 3600.0  # seconds


def pictureImport(host: Host, widget: Any, work: Path, folder: Path) -> None:
    """Write import-*.png into ``folder``; ``work`` is for the model's files."""
    networks = {fold: nnunet_network(len(ORGANS) + 1, seed=fold) for fold in range(2)}
    labels = {"background": 0, **{name: value for value, name in enumerate(ORGANS, 1)}}
    write_results(work / "nnUNet_results", networks, labels=labels, channel_names={"0": "CT"})

    def answer(dialog: Any) -> None:
        _models, folds = dialog.findChildren("QComboBox")
        choose(folds, "all folds together: better, 2 times as long")
        license, name = dialog.findChildren("QLineEdit")
        typeText(license, "Apache-2.0")
        typeText(name, "organs")
        assert dialog.grab().save(str(folder / "import-dialog.png"))
        click(next(button for button in dialog.findChildren("QPushButton") if button.text == "Import"))

    ui = widget.ui
    host.answer("A folder of nnU-Net, TotalSegmentator or MONAI...", str(work / "nnUNet_results"), answer)
    click(ui.importButton)
    host.runUntil(lambda: not widget.panel.run.active, PATIENCE)
    for kind in ("menu", "folder", "dialog"):
        host.dialogs.take(kind)
    typeText(ui.searchEdit, "hepar")
    click(ui.modelButton)
    host.processEvents()
    grabPanel(widget, folder / "import-card.png")
