"""Models in the panel of LLMBoost Segment: imported, chosen and removed, and what is said about broken ones."""

from __future__ import annotations

from dataclasses import replace

from Testing.gui.qthost import click

from llmboost import library
from llmboost.card import Adapter, read_card, write_card


def test_a_model_that_the_scene_names_is_not_installed(case):
    case.addImage()
    case.parameters.model = "/etc/passwd"
    assert "The model '/etc/passwd' is not installed here" in case.refused()
    assert case.ui.modelDetails.text == "No model is chosen."
    rows = [case.ui.modelList.item(n) for n in range(case.ui.modelList.count)]
    item = case.ui.modelList.visualItemRect(next(row for row in rows if row.text().startswith("Brain")))
    click(case.ui.modelList.viewport(), item.center())
    assert case.ui.applyButton.enabled


def test_a_damaged_model_is_listed_as_such_and_can_be_removed(case, host):
    case.addImage()
    case.models.mkdir()
    data = library.find("hippocampus").read_bytes()
    (case.models / "half.safetensors").write_bytes(data[: len(data) // 2])
    case.panel.chooser.refresh()
    last = case.ui.modelList.count - 1
    assert case.ui.modelList.item(last).text() == "half (damaged)"
    case.parameters.model = "half"
    assert "damaged: choose another" in case.refused()
    assert "copy it again" in case.ui.modelDetails.text
    click(case.ui.advancedButton)
    host.answer(True)
    click(case.ui.removeModelButton)
    host.dialogs.take("question")
    assert not (case.models / "half.safetensors").exists()
    assert case.ui.modelList.count == last


def copyOfTheModel(case, name: str = "own"):
    """The shipped model under a name of its own, outside of the library."""
    data = library.find("hippocampus").read_bytes()
    path = case.folder / f"{name}.safetensors"
    old, new = b'\\"name\\": \\"hippocampus\\"', f'\\"name\\": \\"{name}\\"'.encode()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(old, new)
    assert header != data[8 : 8 + length]
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    return path


def importModel(case, path) -> None:
    if case.ui.advancedButton.collapsed:
        click(case.ui.advancedButton)
    case.ui.modelFileEdit.currentPath = str(path)
    click(case.ui.importButton)


def test_a_model_is_imported_chosen_and_removed(case, host):
    count = case.ui.modelList.count
    importModel(case, copyOfTheModel(case))
    assert case.parameters.model == "own"
    assert case.ui.modelList.count == count + 1
    assert (case.models / "own.safetensors").is_file()
    importModel(case, case.folder / "own.safetensors")
    assert "a model named 'own' is installed already" in case.error()
    host.answer(False)
    click(case.ui.removeModelButton)
    assert "Delete the model" in host.dialogs.take("question").text
    host.answer(True)
    click(case.ui.removeModelButton)
    host.dialogs.take("question")
    assert case.ui.modelList.count == count
    assert not (case.models / "own.safetensors").exists()


def test_a_model_that_has_learnt_nothing_is_imported_only_when_confirmed(case, host):
    path = copyOfTheModel(case)
    card = read_card(path)
    write_card(path, replace(card, figures={"val_dice": 0.03}))
    host.answer(False)
    importModel(case, path)
    assert "has learned nothing (Dice 0.03 on validation cases)" in host.dialogs.take("question").text
    assert "own" not in library.installed()
    host.answer(True)
    importModel(case, path)
    host.dialogs.take("question")
    assert case.panel.chooser.current.name == "own"
    text = case.ui.modelDetails.text
    assert "Dice 0.03 on validation cases" in text
    assert "Doubts" in text


def test_an_adapter_tells_its_base_and_its_figure(case, makeModel):
    base = read_card(library.find("hippocampus"))
    adapter = Adapter(base.name, base.version, base.digest, 8)
    makeModel("local", adapter=adapter, figures={"before": 0.5, "after": 0.75})
    case.parameters.model = "local"
    assert f"hippocampus {base.version}" in case.ui.modelDetails.text
    assert "Dice 0.75 on held-out cases" in case.ui.modelDetails.text


def test_a_shipped_model_cannot_be_removed(case):
    click(case.ui.advancedButton)
    assert not case.ui.removeModelButton.enabled


def test_a_model_file_that_is_none(case):
    (case.folder / "notes.safetensors").write_text("not a model, but a text that is long enough to be read")
    for path, message in (
        ("", "Choose a model file first"),
        (case.folder / "missing.safetensors", "missing.safetensors"),
        (case.folder / "notes.safetensors", "not a model file"),
        (case.folder, str(case.folder)),
    ):
        importModel(case, path)
        assert message in case.error()
    assert not case.models.exists()


def test_a_full_disk_while_a_model_is_imported(case, monkeypatch):
    def copyfile(source, target):
        with open(target, "wb") as file:
            file.write(b"half of it")
        raise OSError(28, "No space left on device")

    count = case.ui.modelList.count
    monkeypatch.setattr(library.shutil, "copyfile", copyfile)
    importModel(case, copyOfTheModel(case))
    assert "No space left on device" in case.error()
    assert list(case.models.iterdir()) == []
    assert case.ui.modelList.count == count


def test_a_model_that_was_removed_meanwhile(case):
    importModel(case, copyOfTheModel(case))
    case.addImage()
    (case.models / "own.safetensors").unlink()
    case.run()
    assert "model 'own': no such file" in case.error()
    case.assertUntouched()
