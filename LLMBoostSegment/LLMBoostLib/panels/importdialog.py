"""What is to be imported of what was found: which model, which of its networks, by which name, under which terms."""

from __future__ import annotations

from collections.abc import Sequence

import qt
import slicer
from slicer.i18n import tr as _

from llmboost.messages.foreign import ImportRequest, ModelOffer

from .plaintext import TITLE

ALL = "all"  # folds
WIDTH = 520  # pixels, at least


class ImportDialog:
    """A form with what the model says, and what only the user can say."""

    def __init__(self, offers: Sequence[ModelOffer]) -> None:
        self._offers = offers
        self._dialog = dialog = qt.QDialog(slicer.util.mainWindow())
        dialog.setWindowTitle(f"{TITLE}: " + _("import a model"))
        dialog.setMinimumWidth(WIDTH)
        form = qt.QFormLayout(dialog)
        self._modelBox, self._foldBox, self._origin = qt.QComboBox(), qt.QComboBox(), qt.QLabel()
        self._license, self._name = qt.QLineEdit(), qt.QLineEdit()
        self._notice = qt.QLabel(
            _("Look the license up where you got the model. It is kept in the model's card; LLMBoost cannot check it.")
        )
        self._origin.wordWrap = self._notice.wordWrap = True
        self._origin.textFormat = qt.Qt.PlainText
        self._modelBox.addItems([offer.title for offer in offers])
        self._name.setPlaceholderText(_("by itself: from the data set's name"))
        for text, widget in (
            (_("&Model:"), self._modelBox),
            (_("From:"), self._origin),
            (_("&Networks:"), self._foldBox),
            (_("&License:"), self._license),
            ("", self._notice),
            (_("Na&me here:"), self._name),
        ):
            form.addRow(text, widget)
        buttons = qt.QDialogButtonBox(qt.QDialogButtonBox.Ok | qt.QDialogButtonBox.Cancel)
        self._ok = buttons.button(qt.QDialogButtonBox.Ok)
        self._ok.text = _("Import")
        form.addRow(buttons)
        buttons.connect("accepted()", dialog.accept)
        buttons.connect("rejected()", dialog.reject)
        self._modelBox.connect("currentIndexChanged(int)", self._show)
        self._license.connect("textChanged(QString)", self._check)
        self._show(0)

    def ask(self) -> ImportRequest | None:
        """What the user wants; None: nothing."""
        accepted = self._dialog.exec_()
        offer, fold = self._offer, self._foldBox.currentIndex
        request = ImportRequest(
            path=offer.path,
            name=self._name.text.strip(),
            folds=[*offer.folds, ALL][fold] if len(offer.folds) > 1 else None,
            terms="" if offer.license else self._license.text.strip(),
        )
        self._dialog.deleteLater()
        return request if accepted else None

    @property
    def _offer(self) -> ModelOffer:
        return self._offers[self._modelBox.currentIndex]

    def _show(self, _index: int) -> None:
        """What the chosen model says."""
        offer = self._offer
        self._origin.text = f"{offer.program}: {offer.path}"
        self._foldBox.clear()
        folds = [_("trained on all cases") if fold == ALL else _("fold {number}").format(number=fold)
                 for fold in offer.folds]  # fmt: skip
        several = len(folds) > 1
        if several:
            folds.append(_("all folds together: better, {count} times as long").format(count=len(folds)))
        self._foldBox.addItems(folds or [_("one")])
        self._foldBox.enabled = several
        self._license.text = offer.license
        self._license.readOnly = bool(offer.license)
        self._license.setPlaceholderText(_("not told: such as Apache-2.0, CC BY 4.0, own work"))
        self._notice.visible = not offer.license
        self._check(self._license.text)

    def _check(self, text: str) -> None:
        self._ok.enabled = bool(text.strip())
