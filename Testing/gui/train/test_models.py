"""Models in the panel of LLMBoost Train: bases to choose, names to give, and adapters that are there."""

from __future__ import annotations

from dataclasses import replace

from Testing.gui.qthost import choose, click
from Testing.gui.traincase import selectRows

from llmboost import library
from llmboost.card import read_card


def test_what_cannot_be_adapted_is_no_base_to_choose(ready):
    from llmboost.ensemble import combine
    from llmboost.model import load_model, save_model

    one, other = load_model(library.find("hippocampus")), ready.folder / "other.safetensors"
    changed = load_model(library.find("hippocampus")).network
    for parameter in changed.heads.parameters():
        parameter.data += 1
    save_model(changed, replace(one.card, name="other", title="Other one"), other)
    combine([one, load_model(other)], ready.folder / "both.safetensors", title="Both as one")
    library.import_model(other)
    library.import_model(ready.folder / "both.safetensors")
    regions = replace(one.card, name="regions", title="Drawn over each other", activation="sigmoid", cascade=None)
    regions = replace(regions, tiling=replace(regions.tiling, average="logits"), quality=None)
    save_model(changed, regions, ready.folder / "regions.safetensors")
    library.import_model(ready.folder / "regions.safetensors")
    ready.panel.refresh()
    box = ready.ui.baseBox
    offered = [box.itemText(index) for index in range(box.count)]
    assert all(any(text.startswith(title) for text in offered) for title in ("Other one", "Drawn over each other"))
    assert not any(text.startswith("Both as one") for text in offered)
    ready.panel.parameterNode.base = "both"  # of a scene
    ready.panel.refresh()
    assert not ready.ui.startButton.enabled
    assert "Choose a base model" in ready.ui.startLabel.text


def test_a_name_that_is_taken(ready):
    ready.ui.nameEdit.text = "hippocampus"
    assert "A model named 'hippocampus' is installed already" in ready.ui.startLabel.text
    assert not ready.ui.startButton.enabled
    ready.ui.nameEdit.text = "mine"
    assert ready.ui.startButton.enabled


def test_new_labels_name_the_model(ready):
    assert ready.ui.nameEdit.text == "hippocampus-local-1"
    choose(ready.ui.taskBox, ready.ui.taskBox.itemText(1))
    assert ready.ui.nameEdit.text == "anterior-hippocampus-posterior-hippocampus-local-1"
    ready.ui.nameEdit.text = "mine"
    choose(ready.ui.taskBox, ready.ui.taskBox.itemText(0))
    assert ready.ui.nameEdit.text == "mine"


def test_adapters_are_compared_exported_removed_and_imported(ready, host, tmp_path):
    case = ready
    case.start()
    case.finish()
    click(case.ui.acceptButton)

    selectRows(case.ui.adapterTable, 0)
    assert [case.cell(case.ui.adapterTable, 0, column) for column in range(4)] == [
        "hippocampus-local-1", "hippocampus", "2", "0.60 → 0.80",
    ]  # fmt: skip
    click(case.ui.compareButton)
    case.finish()
    assert "before training (outlines)" in case.status
    folder = tmp_path / "out"
    folder.mkdir()
    selectRows(case.ui.adapterTable, 0)
    host.answer(str(folder))
    click(case.ui.exportButton)
    host.dialogs.take("folder")
    host.answer(True)
    click(case.ui.removeAdapterButton)
    host.dialogs.take("question")
    assert case.ui.adapterTable.rowCount == 0
    host.answer(str(folder / "hippocampus-local-1.safetensors"))
    click(case.ui.importAdapterButton)
    host.dialogs.take("file")
    assert case.ui.adapterTable.rowCount == 1


def test_a_network_of_its_own_needs_no_base_to_be_compared_with(ready):
    from safetensors.torch import load_file

    from llmboost.model import save_tensors

    path = library.find("brain")
    card = replace(read_card(path), name="egg", training={"cases": ["digest"] * 3}, figures={"after": 0.7})
    save_tensors(load_file(path), card, ready.folder / "egg.safetensors")
    library.import_model(ready.folder / "egg.safetensors")
    ready.panel.refresh()
    table = ready.ui.adapterTable
    assert [ready.cell(table, 0, column) for column in range(4)] == ["egg", "none", "3", "– → 0.70"]
    selectRows(table, 0)
    assert ready.ui.useButton.enabled
    assert not ready.ui.compareButton.enabled
