"""Models in the panel of LLMBoost Segment: imported, chosen and removed, and what is said about broken ones."""

from __future__ import annotations

from dataclasses import replace

from Testing.gui.qthost import choose, click, typeText

from llmboost import library
from llmboost.card import Adapter, Label, read_card, with_codes, write_card


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
    host.answer(True)
    click(case.ui.removeModelButton)
    host.dialogs.take("question")
    assert not (case.models / "half.safetensors").exists()
    assert case.ui.modelList.count == last - 1  # without it, and without the part "Other"


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


FILE, FOLDER, HERE = (
    "A file or a zip archive...",
    "A folder of nnU-Net, TotalSegmentator or MONAI...",
    "What these programs keep on this computer...",
)


def importModel(case, path, *more) -> None:
    """By the button, its menu and the dialog that asks for a file; then, what is asked ``more``."""
    case.host.answer(FILE, str(path), *more)
    click(case.ui.importButton)
    case.host.dialogs.take("menu")
    case.host.dialogs.take("file")
    case.finish()


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
    importModel(case, path, False)
    assert "has learned nothing (Dice 0.03 on validation cases)" in host.dialogs.take("question").text
    assert "own" not in library.installed()
    importModel(case, path, True)
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
    assert not case.ui.removeModelButton.enabled


def test_a_model_file_that_is_none(case):
    (case.folder / "notes.safetensors").write_text("not a model, but a text that is long enough to be read")
    for path, message in (
        (case.folder / "missing.safetensors", "missing.safetensors"),
        (case.folder / "notes.safetensors", "not a model file"),
        (case.folder / "bad.zip", "no model that can be imported is in it"),
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


# models of other programs


def importFolder(case, path, how) -> None:
    """By the menu; ``how`` is given the dialog that asks for what the model does not say."""
    case.host.answer(FOLDER, str(path), how)
    click(case.ui.importButton)
    case.host.dialogs.take("menu")
    case.host.dialogs.take("folder")
    case.finish()


def folderOf(case, *names):
    """A folder with one thing for each model that the light worker is to find."""
    folder = case.folder / "results"
    for name in names:
        (folder / name).mkdir(parents=True)
    return folder


def fields(dialog, kind) -> list:
    return list(dialog.findChildren(kind))


def accept(dialog) -> None:
    click(next(button for button in fields(dialog, "QPushButton") if button.text == "Import"))


def test_a_folder_of_nnunet_is_imported_under_its_own_license(case, host):
    importFolder(case, folderOf(case, "liver"), accept)
    shown = host.dialogs.take("dialog")
    assert "License" in shown.text
    assert case.parameters.model == "liver"
    assert case.status == "Imported Model liver"
    details = case.ui.modelDetails.text
    for text in ("nnU-Net v2", "CC0", "mm, patches of"):
        assert text in details
    case.addImage(shape=(40, 56, 80))
    assert "on this machine" in case.ui.modelDetails.text  # the worker has timed it
    assert "GB for this image" in case.ui.modelDetails.text


def test_where_no_license_is_told_the_user_tells_it(case, host):
    def answer(dialog):
        button = next(one for one in fields(dialog, "QPushButton") if one.text == "Import")
        assert not button.enabled
        license = fields(dialog, "QLineEdit")[0]
        typeText(license, "own work")
        assert button.enabled
        click(button)

    importFolder(case, folderOf(case, "own"), answer)
    host.dialogs.take("dialog")
    assert read_card(library.find("own")).license == "own work"


def test_folds_and_a_name_are_chosen(case, host):
    def answer(dialog):
        models, folds = fields(dialog, "QComboBox")
        assert models.count == 2
        choose(models, "spleen-folds, 3d_fullres")
        choose(folds, "all folds together: better, 2 times as long")
        typeText(fields(dialog, "QLineEdit")[1], "my spleen")
        accept(dialog)

    importFolder(case, folderOf(case, "liver", "spleen-folds"), answer)
    host.dialogs.take("dialog")
    card = read_card(library.find("my spleen"))
    assert card.citation == "folds all"
    assert case.panel.chooser.current.name == "my spleen"


def test_an_import_that_nobody_wants(case, host):
    importFolder(case, folderOf(case, "liver"), False)
    host.dialogs.take("dialog")
    assert case.status == "Cancelled"
    assert not case.models.exists()
    host.answer("")
    click(case.ui.importButton)
    host.dialogs.take("menu")
    assert not case.panel.run.active


def test_an_import_is_cancelled_while_the_window_lives(case, host):
    case.useWorker("slow-import")
    host.answer(FOLDER, str(folderOf(case, "liver")), accept)
    click(case.ui.importButton)
    case.waitFor(lambda: "reading" in case.status)
    assert case.ui.importButton.text == "Cancel"
    assert not case.ui.removeModelButton.enabled
    assert not case.ui.applyButton.enabled
    click(case.ui.importButton)
    case.finish()
    assert case.status == "Cancelled"
    assert "liver" not in library.installed()
    for kind in ("menu", "folder", "dialog"):
        host.dialogs.take(kind)


def test_what_cannot_be_imported_gets_one_line(case, host):
    folder = folderOf(case, "bad")
    host.answer(FOLDER, str(folder / "bad"))
    click(case.ui.importButton)
    host.dialogs.take("menu")
    host.dialogs.take("folder")
    case.finish()
    assert case.error() == (
        f"{folder / 'bad'}: no model that can be imported is in it; choose the folder that holds its files"
    )
    host.answer(HERE)
    click(case.ui.importButton)
    host.dialogs.take("menu")
    case.finish()
    assert "keep no model where they usually do" in case.error()
    (folder / "liver").mkdir()
    for _ in range(2):
        importFolder(case, folder / "liver", accept)
        host.dialogs.take("dialog")
    assert "a model named 'liver' is installed already" in case.error()


def test_models_are_found_by_an_organs_other_names(case, makeModel):
    labels = with_codes([Label(1, "liver", (1, 2, 3)), Label(2, "left kidney", (4, 5, 6))])
    makeModel("abdomen", title="Abdomen", labels=labels)
    for words in ("liver", "hepar", "kidney left"):
        typeText(case.ui.searchEdit, words)
        assert [case.ui.modelList.item(n).text() for n in range(case.ui.modelList.count)] == [
            "Abdomen",
            "Abdomen \u00b7 MR",
        ]
        case.ui.searchEdit.clear()


def test_of_many_segments_those_that_were_searched_for_are_named(case, makeModel):
    names = [f"rib {side} {n}" for side in ("left", "right") for n in range(1, 13)]
    labels = with_codes([Label(n, name, (n, 0, 0)) for n, name in enumerate([*names, "sternum"], 1)])
    makeModel("ribs", labels=labels)
    typeText(case.ui.searchEdit, "sternum")
    case.parameters.model = "ribs"
    details = case.ui.modelDetails.text
    assert "25: sternum, rib left 1" in details
    assert "and 13 more" in details
    assert "guessed from the names of 25 of 25 segments" in details


def test_a_fast_run_where_the_model_allows_it(case, makeModel):
    makeModel("large", cascade=None)
    case.addImage(shape=(100, 100, 100))
    assert not case.ui.fastBox.enabled  # the shipped one looks at a patch a structure
    case.parameters.model = "large"
    assert case.ui.fastBox.enabled
    click(case.ui.fastBox)
    case.run()
    assert case.ui.warningsLabel.text == "fast"
