<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" sourcelanguage="en_US" language="de_DE">
 <context>
  <name>install.environment</name>
  <message>
   <source>no Python {oldest} or newer was found; install one from python.org, or choose it</source>
   <translation>kein Python {oldest} oder neuer gefunden; eines von python.org installieren oder auswählen</translation>
  </message>
  <message>
   <source>{folder}: the disk is full: {free:.1f} GB are free, {needed:.1f} GB are needed</source>
   <translation>{folder}: die Festplatte ist voll: {free:.1f} GB sind frei, {needed:.1f} GB werden gebraucht</translation>
  </message>
  <message>
   <source>{python}: is no Python 3 ({answer}); choose the program python, for example of python.org</source>
   <translation>{python}: ist kein Python 3 ({answer}); das Programm python auswählen, etwa von python.org</translation>
  </message>
  <message>
   <source>{path}: cannot be deleted ({reason}); restart Slicer and try again</source>
   <translation>{path}: kann nicht gelöscht werden ({reason}); Slicer neu starten und noch einmal versuchen</translation>
  </message>
  <message>
   <source>{folder}: {packages}; {size:.1f} GB</source>
   <translation>{folder}: {packages}; {size:.1f} GB</translation>
  </message>
  <message>
   <source>the Python Package Index (pypi.org), {size:.1f} GB to download</source>
   <translation>dem Python Package Index (pypi.org), {size:.1f} GB herunterzuladen</translation>
  </message>
  <message>
   <source>A Python environment for LLMBoost alone is made in {folder}: PyTorch, MONAI and what they need, from {source}. It takes {disk:.1f} GB of the disk and some minutes. Slicer's own Python is not touched.</source>
   <translation>Eine Python-Umgebung allein für LLMBoost wird in {folder} angelegt: PyTorch, MONAI und was sie brauchen, aus {source}. Sie belegt {disk:.1f} GB der Festplatte und braucht einige Minuten. Slicers eigenes Python bleibt unberührt.</translation>
  </message>
  <message>
   <source>PyTorch from there computes on the processor; for an NVIDIA graphics card, give a folder with wheels of download.pytorch.org.</source>
   <translation>PyTorch von dort rechnet auf dem Prozessor; für eine Grafikkarte von NVIDIA einen Ordner mit Wheels von download.pytorch.org angeben.</translation>
  </message>
  <message>
   <source>installing the packages failed</source>
   <translation>das Installieren der Pakete ist fehlgeschlagen</translation>
  </message>
  <message>
   <source>the packages were installed, but do not run on this computer</source>
   <translation>die Pakete wurden installiert, laufen aber auf diesem Rechner nicht</translation>
  </message>
  <message>
   <source>the folder {wheels}; nothing is downloaded</source>
   <translation>dem Ordner {wheels}; nichts wird heruntergeladen</translation>
  </message>
  <message>
   <source>{folder}: is being changed by another Slicer, or by one that has ended; try again in a minute</source>
   <translation>{folder}: wird gerade von einem anderen Slicer geändert oder von einem, der beendet wurde; in einer Minute noch einmal versuchen</translation>
  </message>
  <message>
   <source>{python}: Slicer's own Python cannot make an environment; choose another</source>
   <translation>{python}: Slicers eigenes Python kann keine Umgebung anlegen; ein anderes auswählen</translation>
  </message>
  <message>
   <source>{about}: a 64-bit Python {oldest} or newer is needed; install one from python.org</source>
   <translation>{about}: ein 64-Bit-Python {oldest} oder neuer wird gebraucht; eines von python.org installieren</translation>
  </message>
  <message>
   <source>{about}: there is no current PyTorch for Intel processors; choose a Python for Apple silicon, or let the worker run on another computer</source>
   <translation>{about}: für Intel-Prozessoren gibt es kein aktuelles PyTorch; ein Python für Apple Silicon auswählen, oder den Worker auf einem anderen Rechner laufen lassen</translation>
  </message>
  <message>
   <source>{about}: lacks venv or pip; install them (Debian, Ubuntu: the package python3-venv)</source>
   <translation>{about}: venv oder pip fehlt; sie installieren (Debian, Ubuntu: das Paket python3-venv)</translation>
  </message>
  <message>
   <source>{folder}: holds no wheels (files named .whl)</source>
   <translation>{folder}: enthält keine Wheels (Dateien mit der Endung .whl)</translation>
  </message>
  <message>
   <source>making the environment failed</source>
   <translation>das Anlegen der Umgebung ist fehlgeschlagen</translation>
  </message>
  <message>
   <source>{folder}: holds no complete environment; create it</source>
   <translation>{folder}: enthält keine vollständige Umgebung; sie anlegen</translation>
  </message>
  <message>
   <source>{folder}: was not made by LLMBoost; delete it yourself</source>
   <translation>{folder}: wurde nicht von LLMBoost angelegt; bitte selbst löschen</translation>
  </message>
  <message>
   <source>{python}: cannot be started ({reason})</source>
   <translation>{python}: kann nicht gestartet werden ({reason})</translation>
  </message>
  <message>
   <source>{folder}: holds other files; choose an empty folder</source>
   <translation>{folder}: enthält andere Dateien; einen leeren Ordner auswählen</translation>
  </message>
 </context>
 <context>
  <name>install.packages</name>
  <message>
   <source>Another way is a private environment (under Advanced), which leaves Slicer's own Python alone</source>
   <translation>Ein anderer Weg ist eine eigene Umgebung (unter Erweitert), die Slicers eigenes Python unberührt lässt</translation>
  </message>
  <message>
   <source>this Slicer runs a Python for Intel processors, for which there is no current PyTorch on macOS</source>
   <translation>in diesem Slicer läuft ein Python für Intel-Prozessoren, für die es auf macOS kein aktuelles PyTorch gibt</translation>
  </message>
  <message>
   <source>LLMBoost computes with Python packages that are not there yet:</source>
   <translation>LLMBoost rechnet mit Python-Paketen, die noch fehlen:</translation>
  </message>
  <message>
   <source>other Python packages are being installed just now; wait for that, then try again</source>
   <translation>gerade werden andere Python-Pakete installiert; darauf warten, dann noch einmal versuchen</translation>
  </message>
  <message>
   <source>Installing Python packages...</source>
   <translation>Python-Pakete werden installiert ...</translation>
  </message>
  <message>
   <source>the extension PyTorch is missing; install it with the Extensions Manager and restart Slicer</source>
   <translation>die Erweiterung PyTorch fehlt; sie mit dem Extensions Manager installieren und Slicer neu starten</translation>
  </message>
  <message>
   <source>They go into Slicer's own Python. What Slicer and other extensions have installed there stays as it is. {free:.0f} GB of the disk are free. This takes some minutes.

Install them now?</source>
   <translation>Sie kommen in Slicers eigenes Python. Was Slicer und andere Erweiterungen dort installiert haben, bleibt, wie es ist. {free:.0f} GB der Festplatte sind frei. Das dauert einige Minuten.

Jetzt installieren?</translation>
  </message>
  <message>
   <source>installing {names} failed: {reason}</source>
   <translation>das Installieren von {names} ist fehlgeschlagen: {reason}</translation>
  </message>
  <message>
   <source>Python packages are missing ({names}), and were not installed</source>
   <translation>Python-Pakete fehlen ({names}) und wurden nicht installiert</translation>
  </message>
  <message>
   <source>missing: {names}; in testing mode nothing is installed</source>
   <translation>es fehlen: {names}; im Testbetrieb wird nichts installiert</translation>
  </message>
  <message>
   <source>the disk of {folder} is full: {free:.1f} GB are free, at least {room:.1f} GB are needed</source>
   <translation>die Festplatte von {folder} ist voll: {free:.1f} GB sind frei, mindestens {room:.1f} GB werden gebraucht</translation>
  </message>
  <message>
   <source>- PyTorch, from download.pytorch.org by the extension PyTorch: {cpu[0]} GB to download, {cpu[1]} GB on the disk; for an NVIDIA graphics card {gpu[0]:.0f} GB and {gpu[1]} GB</source>
   <translation>- PyTorch, von download.pytorch.org durch die Erweiterung PyTorch: {cpu[0]} GB herunterzuladen, {cpu[1]} GB auf der Festplatte; für eine Grafikkarte von NVIDIA {gpu[0]:.0f} GB und {gpu[1]} GB</translation>
  </message>
  <message>
   <source>- {names}, from the Python Package Index (pypi.org): at most {size[0]} MB to download, {size[1]} MB on the disk</source>
   <translation>- {names}, vom Python Package Index (pypi.org): höchstens {size[0]} MB herunterzuladen, {size[1]} MB auf der Festplatte</translation>
  </message>
  <message>
   <source>PyTorch {version} is installed in Slicer, but {needed} is needed. Other extensions may rely on it, so it is left alone; to replace it, use the module PyTorch Utils (uninstall it, restart Slicer, install it)</source>
   <translation>PyTorch {version} ist in Slicer installiert, gebraucht wird aber {needed}. Andere Erweiterungen können darauf angewiesen sein, deshalb bleibt es, wie es ist; um es zu ersetzen, das Modul PyTorch Utils benutzen (deinstallieren, Slicer neu starten, installieren)</translation>
  </message>
 </context>
 <context>
  <name>install.pipoutput</name>
  <message>
   <source>the disk is full, or a quota is reached; free some space, also for temporary files, and try again</source>
   <translation>die Festplatte ist voll, oder ein Kontingent ist erreicht; Platz schaffen, auch für temporäre Dateien, und noch einmal versuchen</translation>
  </message>
  <message>
   <source>a file is in use or protected; close other programs, restart Slicer and install before anything else is done</source>
   <translation>eine Datei ist in Gebrauch oder geschützt; andere Programme schließen, Slicer neu starten und als Erstes installieren</translation>
  </message>
  <message>
   <source>the folder of Python's packages cannot be written; ask for the permission, or choose another folder</source>
   <translation>in den Ordner der Python-Pakete kann nicht geschrieben werden; um die Berechtigung bitten oder einen anderen Ordner auswählen</translation>
  </message>
  <message>
   <source>it does not fit the packages that are there{conflict}; nothing was changed</source>
   <translation>es passt nicht zu den vorhandenen Paketen{conflict}; nichts wurde geändert</translation>
  </message>
  <message>
   <source>a package file is damaged; download or copy it again</source>
   <translation>eine Paketdatei ist beschädigt; sie noch einmal herunterladen oder kopieren</translation>
  </message>
  <message>
   <source>this Python has no pip; choose another Python</source>
   <translation>dieses Python hat kein pip; ein anderes Python auswählen</translation>
  </message>
  <message>
   <source>no version of {package} fits this Python and this computer; a newer or another Python may help</source>
   <translation>keine Version von {package} passt zu diesem Python und diesem Rechner; ein neueres oder anderes Python kann helfen</translation>
  </message>
  <message>
   <source>the proxy server refuses; put its address, with name and password where it asks for them, into the environment variable HTTPS_PROXY (http://name:password@host:port), restart Slicer and try again</source>
   <translation>der Proxyserver lehnt ab; seine Adresse, mit Name und Passwort, wo er danach fragt, in die Umgebungsvariable HTTPS_PROXY schreiben (http://name:passwort@host:port), Slicer neu starten und noch einmal versuchen</translation>
  </message>
  <message>
   <source>the secure connection is not trusted, as behind some proxy servers; put the path of your institution's certificate file into the environment variable PIP_CERT, restart Slicer and try again</source>
   <translation>der sicheren Verbindung wird nicht vertraut, wie hinter manchen Proxyservern; den Pfad der Zertifikatsdatei Ihrer Einrichtung in die Umgebungsvariable PIP_CERT schreiben, Slicer neu starten und noch einmal versuchen</translation>
  </message>
  <message>
   <source>the package server cannot be reached; check the network and try again, or install from a folder of wheels that another computer has downloaded</source>
   <translation>der Paketserver ist nicht erreichbar; das Netzwerk prüfen und noch einmal versuchen, oder aus einem Ordner mit Wheels installieren, die ein anderer Rechner heruntergeladen hat</translation>
  </message>
  <message>
   <source>{package} was not found: there is no network, or the folder of wheels lacks it for this Python and computer</source>
   <translation>{package} wurde nicht gefunden: es gibt kein Netzwerk, oder dem Ordner mit Wheels fehlt es für dieses Python und diesen Rechner</translation>
  </message>
  <message>
   <source>pip ended without a word</source>
   <translation>pip endete ohne ein Wort</translation>
  </message>
  <message>
   <source>a package</source>
   <translation>ein Paket</translation>
  </message>
  <message>
   <source>download</source>
   <translation>Herunterladen</translation>
  </message>
  <message>
   <source> ({wanted}; there is {present})</source>
   <translation> ({wanted}; vorhanden ist {present})</translation>
  </message>
 </context>
 <context>
  <name>panels.advanced</name>
  <message>
   <source>The worker can have Python packages of its own, apart from Slicer's, in {folder}.</source>
   <translation>Der Worker kann eigene Python-Pakete haben, getrennt von denen Slicers, in {folder}.</translation>
  </message>
  <message>
   <source>worker ended, memory released</source>
   <translation>Worker beendet, Speicher freigegeben</translation>
  </message>
  <message>
   <source>diagnostics copied to the clipboard</source>
   <translation>Diagnose in die Zwischenablage kopiert</translation>
  </message>
  <message>
   <source>Cancel</source>
   <translation>Abbrechen</translation>
  </message>
  <message>
   <source>Create</source>
   <translation>Anlegen</translation>
  </message>
  <message>
   <source>The worker uses {folder}.</source>
   <translation>Der Worker benutzt {folder}.</translation>
  </message>
  <message>
   <source>busy with a request</source>
   <translation>mit einer Anfrage beschäftigt</translation>
  </message>
  <message>
   <source>{folder} exists, but is not used.</source>
   <translation>{folder} ist vorhanden, wird aber nicht benutzt.</translation>
  </message>
  <message>
   <source>cancelled</source>
   <translation>abgebrochen</translation>
  </message>
  <message>
   <source>Delete {folder} and all that is in it?</source>
   <translation>{folder} und alles darin löschen?</translation>
  </message>
  <message>
   <source>worker: {command}</source>
   <translation>Worker: {command}</translation>
  </message>
  <message>
   <source>Slicer's own Python</source>
   <translation>Slicers eigenes Python</translation>
  </message>
  <message>
   <source>This is no command line ({error}): {text}</source>
   <translation>Das ist keine Befehlszeile ({error}): {text}</translation>
  </message>
 </context>
 <context>
  <name>panels.bodyparts</name>
  <message>
   <source>Head</source>
   <translation>Kopf</translation>
  </message>
  <message>
   <source>Neck</source>
   <translation>Hals</translation>
  </message>
  <message>
   <source>Chest</source>
   <translation>Brust</translation>
  </message>
  <message>
   <source>Abdomen</source>
   <translation>Bauch</translation>
  </message>
  <message>
   <source>Pelvis</source>
   <translation>Becken</translation>
  </message>
  <message>
   <source>Spine</source>
   <translation>Wirbelsäule</translation>
  </message>
  <message>
   <source>Limbs</source>
   <translation>Gliedmaßen</translation>
  </message>
  <message>
   <source>Whole body</source>
   <translation>Ganzer Körper</translation>
  </message>
  <message>
   <source>Other</source>
   <translation>Andere</translation>
  </message>
 </context>
 <context>
  <name>panels.choiceview</name>
  <message>
   <source>Stop the computation; the scene stays as it is</source>
   <translation>Die Berechnung anhalten; die Szene bleibt, wie sie ist</translation>
  </message>
  <message>
   <source>&amp;Cancel</source>
   <translation>&amp;Abbrechen</translation>
  </message>
  <message>
   <source>Classify the image</source>
   <translation>Das Bild klassifizieren</translation>
  </message>
  <message>
   <source>Segment the image</source>
   <translation>Das Bild segmentieren</translation>
  </message>
  <message>
   <source>Cl&amp;assify</source>
   <translation>Kl&amp;assifizieren</translation>
  </message>
  <message>
   <source>&amp;Apply</source>
   <translation>&amp;Anwenden</translation>
  </message>
  <message>
   <source>Something else is being computed: wait for it, or cancel it</source>
   <translation>Etwas anderes wird gerade berechnet: darauf warten oder es abbrechen</translation>
  </message>
  <message>
   <source>about {time} on this machine</source>
   <translation>etwa {time} auf diesem Rechner</translation>
  </message>
 </context>
 <context>
  <name>panels.devicechoice</name>
  <message>
   <source>Automatic</source>
   <translation>Automatisch</translation>
  </message>
  <message>
   <source>CPU</source>
   <translation>Prozessor (CPU)</translation>
  </message>
  <message>
   <source>GPU (CUDA)</source>
   <translation>Grafikkarte (CUDA)</translation>
  </message>
 </context>
 <context>
  <name>panels.errordisplay</name>
  <message>
   <source>Unexpected error: {error}. Please report it, with the details</source>
   <translation>Unerwarteter Fehler: {error}. Bitte mit den Einzelheiten melden</translation>
  </message>
 </context>
 <context>
  <name>panels.examining</name>
  <message>
   <source>The model '{name}' is not installed here: choose another, or import it</source>
   <translation>Das Modell „{name}“ ist hier nicht installiert: ein anderes auswählen oder es importieren</translation>
  </message>
  <message>
   <source>Choose a model</source>
   <translation>Ein Modell auswählen</translation>
  </message>
  <message>
   <source>The model's file is damaged: choose another, or remove it</source>
   <translation>Die Datei des Modells ist beschädigt: ein anderes auswählen oder sie entfernen</translation>
  </message>
  <message>
   <source>The model takes more images than this panel has room for: use the logic from Python</source>
   <translation>Das Modell nimmt mehr Bilder, als hier Platz haben: die Logik von Python aus benutzen</translation>
  </message>
 </context>
 <context>
  <name>panels.explainview</name>
  <message>
   <source>Cancel</source>
   <translation>Abbrechen</translation>
  </message>
  <message>
   <source>Ex&amp;plain</source>
   <translation>Er&amp;klären</translation>
  </message>
  <message>
   <source>Where the model looked, not whether it is right.</source>
   <translation>Wohin das Modell geschaut hat, nicht, ob es recht hat.</translation>
  </message>
 </context>
 <context>
  <name>panels.importdialog</name>
  <message>
   <source>Import</source>
   <translation>Importieren</translation>
  </message>
  <message>
   <source>Look the license up where you got the model. It is kept in the model's card; LLMBoost cannot check it.</source>
   <translation>Die Lizenz dort nachsehen, woher das Modell stammt. Sie wird in der Karte des Modells aufbewahrt; LLMBoost kann sie nicht prüfen.</translation>
  </message>
  <message>
   <source>by itself: from the data set's name</source>
   <translation>von selbst: nach dem Namen des Datensatzes</translation>
  </message>
  <message>
   <source>not told: such as Apache-2.0, CC BY 4.0, own work</source>
   <translation>nicht angegeben: etwa Apache-2.0, CC BY 4.0, eigene Arbeit</translation>
  </message>
  <message>
   <source>import a model</source>
   <translation>ein Modell importieren</translation>
  </message>
  <message>
   <source>&amp;Model:</source>
   <translation>&amp;Modell:</translation>
  </message>
  <message>
   <source>From:</source>
   <translation>Von:</translation>
  </message>
  <message>
   <source>&amp;Networks:</source>
   <translation>&amp;Netze:</translation>
  </message>
  <message>
   <source>&amp;License:</source>
   <translation>&amp;Lizenz:</translation>
  </message>
  <message>
   <source>Na&amp;me here:</source>
   <translation>Na&amp;me hier:</translation>
  </message>
  <message>
   <source>trained on all cases</source>
   <translation>auf allen Fällen trainiert</translation>
  </message>
  <message>
   <source>one</source>
   <translation>eines</translation>
  </message>
  <message>
   <source>fold {number}</source>
   <translation>Fold {number}</translation>
  </message>
  <message>
   <source>all folds together: better, {count} times as long</source>
   <translation>alle Folds zusammen: besser, {count}-mal so lange</translation>
  </message>
 </context>
 <context>
  <name>panels.inputview</name>
  <message>
   <source>This one ({current} of {count})</source>
   <translation>Nur dieser ({current} von {count})</translation>
  </message>
  <message>
   <source>This one, of {count}</source>
   <translation>Nur dieser, von {count}</translation>
  </message>
  <message>
   <source>All {count}</source>
   <translation>Alle {count}</translation>
  </message>
 </context>
 <context>
  <name>panels.learning</name>
  <message>
   <source>LLMBoost Train has a trained model, '{name}', that waits for your decision. Discard it?</source>
   <translation>In LLMBoost Train wartet ein trainiertes Modell, „{name}“, auf Ihre Entscheidung. Es verwerfen?</translation>
  </message>
  <message>
   <source>learning</source>
   <translation>Lernen</translation>
  </message>
  <message>
   <source>Added: it is learned from as soon as the present training is done</source>
   <translation>Hinzugefügt: daraus wird gelernt, sobald das laufende Training beendet ist</translation>
  </message>
  <message>
   <source>Learning from one case; from {least} on, some are kept aside and tell the gain</source>
   <translation>Lernt aus einem Fall; ab {least} werden einige beiseitegelegt und zeigen den Gewinn</translation>
  </message>
  <message>
   <source>Learning from {count} cases; from {least} on, some are kept aside and tell the gain</source>
   <translation>Lernt aus {count} Fällen; ab {least} werden einige beiseitegelegt und zeigen den Gewinn</translation>
  </message>
  <message>
   <source>Learned from one case, {gain}: in use from now on</source>
   <translation>Aus einem Fall gelernt, {gain}: von jetzt an in Gebrauch</translation>
  </message>
  <message>
   <source>Learned from {count} cases, {gain}: in use from now on</source>
   <translation>Aus {count} Fällen gelernt, {gain}: von jetzt an in Gebrauch</translation>
  </message>
  <message>
   <source>What was learned is forgotten again</source>
   <translation>Was gelernt wurde, ist wieder vergessen</translation>
  </message>
  <message>
   <source>LLMBoost Train trains a model: wait for it, or cancel it there</source>
   <translation>LLMBoost Train trainiert ein Modell: darauf warten oder es dort abbrechen</translation>
  </message>
  <message>
   <source>Accept or discard the model in LLMBoost Train first</source>
   <translation>Zuerst das Modell in LLMBoost Train annehmen oder verwerfen</translation>
  </message>
  <message>
   <source>Learning from {count} cases, of which every fourth is kept aside and tells the gain</source>
   <translation>Lernt aus {count} Fällen, von denen jeder vierte beiseitegelegt wird und den Gewinn zeigt</translation>
  </message>
  <message>
   <source>Dice {change} on what was kept aside</source>
   <translation>Dice {change} auf dem, was beiseitegelegt war</translation>
  </message>
  <message>
   <source>the gain is not measured yet</source>
   <translation>der Gewinn ist noch nicht gemessen</translation>
  </message>
  <message>
   <source>Learning was stopped</source>
   <translation>Das Lernen wurde angehalten</translation>
  </message>
  <message>
   <source>Learned nothing better ({gain}): the model stays as it was. More cases help</source>
   <translation>Nichts Besseres gelernt ({gain}): das Modell bleibt, wie es war. Mehr Fälle helfen</translation>
  </message>
  <message>
   <source> · about {time} left</source>
   <translation> · noch etwa {time}</translation>
  </message>
 </context>
 <context>
  <name>panels.loop</name>
  <message>
   <source>Add the image and its segments, once you have corrected them, to the cases, and let the model learn from all cases in the background. What is learned stays on this computer.</source>
   <translation>Das Bild und seine Segmente, sobald sie korrigiert sind, zu den Fällen hinzufügen und das Modell im Hintergrund aus allen Fällen lernen lassen. Was gelernt wird, bleibt auf diesem Rechner.</translation>
  </message>
  <message>
   <source>This model cannot learn. LLMBoost Train can teach its segments to another one.</source>
   <translation>Dieses Modell kann nicht lernen. LLMBoost Train kann seine Segmente einem anderen beibringen.</translation>
  </message>
  <message>
   <source>The segments may have been edited since. Undo takes edits back, too. Go on?</source>
   <translation>Die Segmente wurden seitdem vielleicht bearbeitet. Rückgängig nimmt auch Änderungen zurück. Fortfahren?</translation>
  </message>
  <message>
   <source>Added to the cases of LLMBoost Train ({count} in all)</source>
   <translation>Zu den Fällen von LLMBoost Train hinzugefügt ({count} insgesamt)</translation>
  </message>
  <message>
   <source>cancelled</source>
   <translation>abgebrochen</translation>
  </message>
  <message>
   <source>result</source>
   <translation>Ergebnis</translation>
  </message>
  <message>
   <source>Added to the cases of LLMBoost Train as {crops} crops, a side each ({count} in all)</source>
   <translation>Zu den Fällen von LLMBoost Train hinzugefügt als {crops} Ausschnitte, einer je Seite ({count} insgesamt)</translation>
  </message>
  <message>
   <source>Segment an image first</source>
   <translation>Zuerst ein Bild segmentieren</translation>
  </message>
  <message>
   <source>next case</source>
   <translation>nächster Fall</translation>
  </message>
  <message>
   <source>Undone: {step}</source>
   <translation>Rückgängig gemacht: {step}</translation>
  </message>
  <message>
   <source>correction</source>
   <translation>Korrektur</translation>
  </message>
 </context>
 <context>
  <name>panels.modelcard</name>
  <message>
   <source>{figure}; of a whole {subject}, told with the result (off by {error:.2f} on average of {count:.0f} tests)</source>
   <translation>{figure}; für {subject} im Ganzen nennt es das Ergebnis (im Mittel von {count:.0f} Tests um {error:.2f} daneben)</translation>
  </message>
  <message>
   <source>Accuracy</source>
   <translation>Genauigkeit</translation>
  </message>
  <message>
   <source>File</source>
   <translation>Datei</translation>
  </message>
  <message>
   <source>known after the first run</source>
   <translation>nach dem ersten Lauf bekannt</translation>
  </message>
  <message>
   <source>No model is chosen.</source>
   <translation>Kein Modell ist ausgewählt.</translation>
  </message>
  <message>
   <source>{name} {version}, {size:.1f} MB</source>
   <translation>{name} {version}, {size:.1f} MB</translation>
  </message>
  <message>
   <source>Origin</source>
   <translation>Herkunft</translation>
  </message>
  <message>
   <source>{figure} (crops)</source>
   <translation>{figure} (Ausschnitte)</translation>
  </message>
  <message>
   <source>about {size:.1f} GB for this image</source>
   <translation>etwa {size:.1f} GB für dieses Bild</translation>
  </message>
  <message>
   <source>Input</source>
   <translation>Eingabe</translation>
  </message>
  <message>
   <source>{figure}; of a whole {subject}, not measured</source>
   <translation>{figure}; für {subject} im Ganzen nicht gemessen</translation>
  </message>
  <message>
   <source>{figure}; of a whole {subject}, told with the result</source>
   <translation>{figure}; für {subject} im Ganzen nennt es das Ergebnis</translation>
  </message>
  <message>
   <source>about {time} on this machine</source>
   <translation>etwa {time} auf diesem Rechner</translation>
  </message>
  <message>
   <source>about {time} by its card</source>
   <translation>etwa {time} nach seiner Karte</translation>
  </message>
  <message>
   <source>This file cannot be used: {problem}</source>
   <translation>Diese Datei kann nicht benutzt werden: {problem}</translation>
  </message>
 </context>
 <context>
  <name>panels.modelentries</name>
  <message>
   <source>{doubts}.

Train it longer, or on more cases. Import it all the same?</source>
   <translation>{doubts}.

Länger trainieren oder auf mehr Fällen. Trotzdem importieren?</translation>
  </message>
  <message>
   <source>{name} (damaged)</source>
   <translation>{name} (beschädigt)</translation>
  </message>
 </context>
 <context>
  <name>panels.modelimport</name>
  <message>
   <source>Cancel</source>
   <translation>Abbrechen</translation>
  </message>
  <message>
   <source>I&amp;mport...</source>
   <translation>I&amp;mportieren ...</translation>
  </message>
  <message>
   <source>looking for models</source>
   <translation>nach Modellen wird gesucht</translation>
  </message>
  <message>
   <source>Models</source>
   <translation>Modelle</translation>
  </message>
  <message>
   <source>A file or a zip archive...</source>
   <translation>Eine Datei oder ein Zip-Archiv ...</translation>
  </message>
  <message>
   <source>A folder of nnU-Net, TotalSegmentator or MONAI...</source>
   <translation>Ein Ordner von nnU-Net, TotalSegmentator oder MONAI ...</translation>
  </message>
  <message>
   <source>What these programs keep on this computer...</source>
   <translation>Was diese Programme auf diesem Rechner aufbewahren ...</translation>
  </message>
  <message>
   <source>cancelled</source>
   <translation>abgebrochen</translation>
  </message>
  <message>
   <source>The worker runs on {host}, which does not see this computer's files: import there, by `llmboost models import`, or clear the worker's command under Advanced</source>
   <translation>Der Worker läuft auf {host} und sieht die Dateien dieses Rechners nicht: dort mit `llmboost models import` importieren, oder den Befehl des Workers unter Erweitert löschen</translation>
  </message>
  <message>
   <source>Delete the model '{name}' from this computer?</source>
   <translation>Das Modell „{name}“ von diesem Rechner löschen?</translation>
  </message>
  <message>
   <source>Import a model</source>
   <translation>Ein Modell importieren</translation>
  </message>
  <message>
   <source>The folder of a trained model</source>
   <translation>Der Ordner eines trainierten Modells</translation>
  </message>
  <message>
   <source>nnU-Net, TotalSegmentator and MONAI keep no model where they usually do on this computer: choose a folder or an archive</source>
   <translation>nnU-Net, TotalSegmentator und MONAI haben auf diesem Rechner kein Modell, wo sie es sonst aufbewahren: einen Ordner oder ein Archiv auswählen</translation>
  </message>
  <message>
   <source>Imported {title}</source>
   <translation>{title} importiert</translation>
  </message>
 </context>
 <context>
  <name>panels.modulepanel</name>
  <message>
   <source>cancelled</source>
   <translation>abgebrochen</translation>
  </message>
 </context>
 <context>
  <name>panels.nextcase</name>
  <message>
   <source>There is no next image: every image of the scene has a segmentation. Load one, or a file of a folder with more</source>
   <translation>Es gibt kein nächstes Bild: jedes Bild der Szene hat eine Segmentierung. Eines laden, oder eine Datei aus einem Ordner mit mehreren</translation>
  </message>
  <message>
   <source>{path}: cannot be loaded ({error})</source>
   <translation>{path}: kann nicht geladen werden ({error})</translation>
  </message>
 </context>
 <context>
  <name>panels.progressview</name>
  <message>
   <source>about {time} left</source>
   <translation>noch etwa {time}</translation>
  </message>
  <message>
   <source>about {size:.1f} GB of memory</source>
   <translation>etwa {size:.1f} GB Arbeitsspeicher</translation>
  </message>
 </context>
 <context>
  <name>panels.reportview</name>
  <message>
   <source>stored in Slicer's DICOM database, as segmentation and measurements of the same study</source>
   <translation>in Slicers DICOM-Datenbank gespeichert, als Segmentierung und Messwerte derselben Studie</translation>
  </message>
  <message>
   <source>Write a report</source>
   <translation>Einen Bericht schreiben</translation>
  </message>
  <message>
   <source>Web page (*.html);;PDF (*.pdf)</source>
   <translation>Webseite (*.html);;PDF (*.pdf)</translation>
  </message>
 </context>
 <context>
  <name>panels.resultview</name>
  <message>
   <source>Outside of the model's range: its answer means little here.</source>
   <translation>Außerhalb dessen, was das Modell kennt: seine Antwort bedeutet hier wenig.</translation>
  </message>
  <message>
   <source>Not an image that this model knows:</source>
   <translation>Kein Bild, das dieses Modell kennt:</translation>
  </message>
 </context>
 <context>
  <name>panels.runner</name>
  <message>
   <source>cancelling</source>
   <translation>wird abgebrochen</translation>
  </message>
  <message>
   <source>cancelled</source>
   <translation>abgebrochen</translation>
  </message>
 </context>
 <context>
  <name>panels.segmentpanel</name>
  <message>
   <source>new segmentation</source>
   <translation>neue Segmentierung</translation>
  </message>
  <message>
   <source>cancelled, for the scene was closed</source>
   <translation>abgebrochen, denn die Szene wurde geschlossen</translation>
  </message>
  <message>
   <source>cancelled</source>
   <translation>abgebrochen</translation>
  </message>
  <message>
   <source>starting</source>
   <translation>beginnt</translation>
  </message>
  <message>
   <source>Done in {time}: {name}</source>
   <translation>Fertig in {time}: {name}</translation>
  </message>
  <message>
   <source>cancelled, for {name} was removed from the scene</source>
   <translation>abgebrochen, denn {name} wurde aus der Szene entfernt</translation>
  </message>
 </context>
 <context>
  <name>panels.segmenttable</name>
  <message>
   <source>mL</source>
   <translation>ml</translation>
  </message>
  <message>
   <source>% of TIV</source>
   <translation>% des TIV</translation>
  </message>
  <message>
   <source>Asym. (%)</source>
   <translation>Asym. (%)</translation>
  </message>
  <message>
   <source>Segment</source>
   <translation>Segment</translation>
  </message>
  <message>
   <source>How well the segment probably agrees with an expert's, by how sure the model was of its voxels.</source>
   <translation>Wie gut das Segment wahrscheinlich mit dem eines Fachmanns übereinstimmt, danach, wie sicher das Modell bei seinen Voxeln war.</translation>
  </message>
  <message>
   <source>Expected Dice</source>
   <translation>Erwarteter Dice</translation>
  </message>
  <message>
   <source>{name}, {count} voxels</source>
   <translation>{name}, {count} Voxel</translation>
  </message>
 </context>
 <context>
  <name>panels.slicechoice</name>
  <message>
   <source>View {view} cuts across the slices of {volume}: turn it (Rotate to Volume Plane), or take all</source>
   <translation>Ansicht {view} schneidet quer durch die Schichten von {volume}: sie drehen (Rotate to Volume Plane) oder alle nehmen</translation>
  </message>
  <message>
   <source>View {view} shows no slice of {volume}: scroll to one</source>
   <translation>Ansicht {view} zeigt keine Schicht von {volume}: zu einer blättern</translation>
  </message>
  <message>
   <source>All {count}</source>
   <translation>Alle {count}</translation>
  </message>
  <message>
   <source>The one shown in view {name}</source>
   <translation>Die in Ansicht {name} gezeigte</translation>
  </message>
 </context>
 <context>
  <name>panels.studyview</name>
  <message>
   <source>All: each volume of the image's study, or folder, that suits the model is segmented on its own.</source>
   <translation>Alle: jedes Volumen der Untersuchung oder des Ordners des Bildes, das zum Modell passt, wird für sich segmentiert.</translation>
  </message>
  <message>
   <source>Left, for it does not suit:</source>
   <translation>Ausgelassen, denn es passt nicht:</translation>
  </message>
  <message>
   <source>This image alone</source>
   <translation>Nur dieses Bild</translation>
  </message>
  <message>
   <source>and {count} more</source>
   <translation>und {count} weitere</translation>
  </message>
  <message>
   <source>What suits best: {name}</source>
   <translation>Was am besten passt: {name}</translation>
  </message>
  <message>
   <source>All {count} that suit</source>
   <translation>Alle {count}, die passen</translation>
  </message>
 </context>
 <context>
  <name>panels.undosteps</name>
  <message>
   <source>Undo</source>
   <translation>Rückgängig</translation>
  </message>
  <message>
   <source>Take the latest step back: a result, a correction, what was learned, or the next case.</source>
   <translation>Den letzten Schritt zurücknehmen: ein Ergebnis, eine Korrektur, was gelernt wurde, oder den nächsten Fall.</translation>
  </message>
  <message>
   <source>Undo: {step}</source>
   <translation>Rückgängig: {step}</translation>
  </message>
 </context>
 <context>
  <name>scene.classification</name>
  <message>
   <source>positive class: {name}, reported from {percent} on</source>
   <translation>positive Klasse: {name}, gemeldet ab {percent}</translation>
  </message>
  <message>
   <source>not for clinical use</source>
   <translation>nicht für den klinischen Gebrauch</translation>
  </message>
  <message>
   <source>not an image that this model knows</source>
   <translation>kein Bild, das dieses Modell kennt</translation>
  </message>
  <message>
   <source>none of the classes</source>
   <translation>keine der Klassen</translation>
  </message>
  <message>
   <source>yes</source>
   <translation>ja</translation>
  </message>
  <message>
   <source>{name}: was removed from the scene meanwhile; its classification is dropped</source>
   <translation>{name}: wurde inzwischen aus der Szene entfernt; seine Klassifikation entfällt</translation>
  </message>
  <message>
   <source>over {count} slices</source>
   <translation>über {count} Schichten</translation>
  </message>
  <message>
   <source>slice {number}</source>
   <translation>Schicht {number}</translation>
  </message>
 </context>
 <context>
  <name>scene.dicomdatabase</name>
  <message>
   <source>{name}: Slicer's DICOM database does not know this image (any more); import its files there</source>
   <translation>{name}: Slicers DICOM-Datenbank kennt dieses Bild nicht (mehr); seine Dateien dort importieren</translation>
  </message>
  <message>
   <source>Slicer's DICOM database did not take the segments; see the error log, and whether it can be written</source>
   <translation>Slicers DICOM-Datenbank hat die Segmente nicht aufgenommen; im Fehlerprotokoll nachsehen, und ob sie beschreibbar ist</translation>
  </message>
  <message>
   <source>{name}: nothing was found, so there is nothing to store</source>
   <translation>{name}: nichts wurde gefunden, also ist nichts zu speichern</translation>
  </message>
 </context>
 <context>
  <name>scene.explanation</name>
  <message>
   <source>Grad-CAM</source>
   <translation>Grad-CAM</translation>
  </message>
  <message>
   <source>Attention rollout</source>
   <translation>Attention Rollout</translation>
  </message>
  <message>
   <source>After the booster</source>
   <translation>Nach dem Booster</translation>
  </message>
  <message>
   <source>Before the booster</source>
   <translation>Vor dem Booster</translation>
  </message>
 </context>
 <context>
  <name>scene.fit</name>
  <message>
   <source>Voxels of {mm:.1f} mm are coarse for a model that works at {expected:g} mm: small structures get lost.</source>
   <translation>Voxel von {mm:.1f} mm sind grob für ein Modell, das mit {expected:g} mm arbeitet: kleine Strukturen gehen verloren.</translation>
  </message>
  <message>
   <source>{millions:.0f} million voxels take long and much memory: choose a ROI.</source>
   <translation>{millions:.0f} Millionen Voxel brauchen lange und viel Arbeitsspeicher: eine ROI auswählen.</translation>
  </message>
  <message>
   <source>Replaces {segments} in {name}; Undo brings them back.</source>
   <translation>Ersetzt {segments} in {name}; Rückgängig bringt sie wieder.</translation>
  </message>
  <message>
   <source>{name} belongs to another image, {image}.</source>
   <translation>{name} gehört zu einem anderen Bild, {image}.</translation>
  </message>
  <message>
   <source>The image has values like CT, the model was trained on MR.</source>
   <translation>Das Bild hat Werte wie CT, das Modell wurde auf MR trainiert.</translation>
  </message>
  <message>
   <source>The image has no negative values, unlike CT in Hounsfield units, which the model was trained on.</source>
   <translation>Das Bild hat keine negativen Werte, anders als CT in Hounsfield-Einheiten, auf dem das Modell trainiert wurde.</translation>
  </message>
  <message>
   <source>The image is a single slice, the model takes volumes.</source>
   <translation>Das Bild ist eine einzelne Schicht, das Modell nimmt Volumen.</translation>
  </message>
  <message>
   <source>Choose a segment</source>
   <translation>Ein Segment auswählen</translation>
  </message>
  <message>
   <source>Choose an image</source>
   <translation>Ein Bild auswählen</translation>
  </message>
  <message>
   <source>The same image is chosen twice; the model takes different ones</source>
   <translation>Dasselbe Bild ist zweimal ausgewählt; das Modell nimmt verschiedene</translation>
  </message>
  <message>
   <source>The image lies under a transform that is not linear: it is taken as if it had none.</source>
   <translation>Das Bild liegt unter einer nichtlinearen Transformation: es wird genommen, als hätte es keine.</translation>
  </message>
  <message>
   <source>The image is {told}, the model was trained on {expected}.</source>
   <translation>Das Bild ist {told}, das Modell wurde auf {expected} trainiert.</translation>
  </message>
  <message>
   <source>The ROI ({extent}) is much larger than what the model looks at at once ({window}).</source>
   <translation>Die ROI ({extent}) ist viel größer als das, was das Modell auf einmal sieht ({window}).</translation>
  </message>
  <message>
   <source>The image ({extent}) is much larger than what the model looks at at once ({window}). If it was trained on crops, crop the image or choose a ROI.</source>
   <translation>Das Bild ({extent}) ist viel größer als das, was das Modell auf einmal sieht ({window}). Wurde es auf Ausschnitten trainiert, das Bild zuschneiden oder eine ROI auswählen.</translation>
  </message>
  <message>
   <source>Too thin: {extent}; the model looks at {window} at once.</source>
   <translation>Zu dünn: {extent}; das Modell sieht {window} auf einmal.</translation>
  </message>
  <message>
   <source>{roi}: lies outside of {volume}, at ({place}) mm; move it, or choose no ROI</source>
   <translation>{roi}: liegt außerhalb von {volume}, bei ({place}) mm; sie verschieben oder keine ROI auswählen</translation>
  </message>
 </context>
 <context>
  <name>scene.frames</name>
  <message>
   <source>the sequence was removed from the scene meanwhile: its segmentations are dropped</source>
   <translation>die Sequenz wurde inzwischen aus der Szene entfernt: ihre Segmentierungen entfallen</translation>
  </message>
  <message>
   <source>the sequence was changed meanwhile; segment it again</source>
   <translation>die Sequenz wurde inzwischen geändert; sie noch einmal segmentieren</translation>
  </message>
  <message>
   <source>Frame</source>
   <translation>Zeitpunkt</translation>
  </message>
  <message>
   <source>{name}: shows no sequence; segment it alone</source>
   <translation>{name}: zeigt keine Sequenz; es allein segmentieren</translation>
  </message>
 </context>
 <context>
  <name>scene.maps</name>
  <message>
   <source>the volume was removed from the scene meanwhile: its maps are dropped</source>
   <translation>das Volumen wurde inzwischen aus der Szene entfernt: seine Karten entfallen</translation>
  </message>
  <message>
   <source>{name}: was changed meanwhile; compute its maps again</source>
   <translation>{name}: wurde inzwischen geändert; seine Karten noch einmal berechnen</translation>
  </message>
 </context>
 <context>
  <name>scene.result</name>
  <message>
   <source>The output segmentation was removed meanwhile: the segments are in a new one</source>
   <translation>Die Ausgabesegmentierung wurde inzwischen entfernt: die Segmente sind in einer neuen</translation>
  </message>
  <message>
   <source>Entropy</source>
   <translation>Entropie</translation>
  </message>
  <message>
   <source>Probability</source>
   <translation>Wahrscheinlichkeit</translation>
  </message>
 </context>
 <context>
  <name>scene.samples</name>
  <message>
   <source>The sample cannot be loaded ({error}): check the network, or begin with the phantom, which needs none</source>
   <translation>Das Beispiel kann nicht geladen werden ({error}): das Netzwerk prüfen, oder mit dem Phantom beginnen, das keines braucht</translation>
  </message>
  <message>
   <source>Hippocampus phantom (drawn, no person)</source>
   <translation>Hippocampus-Phantom (gezeichnet, keine Person)</translation>
  </message>
  <message>
   <source>{name} segments</source>
   <translation>{name} Segmente</translation>
  </message>
  <message>
   <source>Phantom {number}, other scanner (drawn, no person)</source>
   <translation>Phantom {number}, anderer Scanner (gezeichnet, keine Person)</translation>
  </message>
  <message>
   <source>nothing came</source>
   <translation>nichts kam</translation>
  </message>
 </context>
 <context>
  <name>scene.segmentation</name>
  <message>
   <source>the volume was removed from the scene meanwhile: its segmentation is dropped</source>
   <translation>das Volumen wurde inzwischen aus der Szene entfernt: seine Segmentierung entfällt</translation>
  </message>
  <message>
   <source>the output segmentation was removed from the scene meanwhile: choose another</source>
   <translation>die Ausgabesegmentierung wurde inzwischen aus der Szene entfernt: eine andere auswählen</translation>
  </message>
  <message>
   <source>the segmentation was removed from the scene: nothing to revert</source>
   <translation>die Segmentierung wurde aus der Szene entfernt: nichts rückgängig zu machen</translation>
  </message>
  <message>
   <source>{name}: was changed meanwhile; segment it again</source>
   <translation>{name}: wurde inzwischen geändert; es noch einmal segmentieren</translation>
  </message>
  <message>
   <source>{name}: consists of {kind}s, not of binary labelmaps; make these its source in module Segmentations, or choose another output</source>
   <translation>{name}: besteht aus {kind}s, nicht aus binären Labelmaps; diese im Modul Segmentations zur Quelle machen, oder eine andere Ausgabe auswählen</translation>
  </message>
 </context>
 <context>
  <name>scene.tables</name>
  <message>
   <source>{formula}. The total intracranial volume (TIV) is the volume of all segments together that have a share.</source>
   <translation>{formula}. Das gesamte intrakranielle Volumen (TIV) ist das Volumen aller Segmente zusammen, die einen Anteil haben.</translation>
  </message>
  <message>
   <source>Asymmetry index: {formula}. Above 0 where the left side is larger; empty where there is no other side, or one of them is empty or may be cut off.</source>
   <translation>Asymmetrieindex: {formula}. Über 0, wo die linke Seite größer ist; leer, wo es keine andere Seite gibt oder eine von ihnen leer ist oder abgeschnitten sein kann.</translation>
  </message>
 </context>
 <context>
  <name>scene.volumes</name>
  <message>
   <source>{name} lies under a transform that is not linear: it was taken as if it had none</source>
   <translation>{name} liegt unter einer nichtlinearen Transformation: es wurde genommen, als hätte es keine</translation>
  </message>
  <message>
   <source>{name} lies under a transform that scales it: sizes are those after the transform</source>
   <translation>{name} liegt unter einer Transformation, die es skaliert: Größen sind die nach der Transformation</translation>
  </message>
  <message>
   <source>a color image</source>
   <translation>ein Farbbild</translation>
  </message>
  <message>
   <source>one component</source>
   <translation>eine Komponente</translation>
  </message>
  <message>
   <source>no volume is chosen; load an image and choose it</source>
   <translation>kein Volumen ist ausgewählt; ein Bild laden und auswählen</translation>
  </message>
  <message>
   <source>{count} components</source>
   <translation>{count} Komponenten</translation>
  </message>
  <message>
   <source>{name}: a sequence; choose the volume that its sequence browser shows</source>
   <translation>{name}: eine Sequenz; das Volumen auswählen, das ihr Sequence Browser zeigt</translation>
  </message>
  <message>
   <source>{name}: a label map, not an image; choose the image itself</source>
   <translation>{name}: eine Labelmap, kein Bild; das Bild selbst auswählen</translation>
  </message>
  <message>
   <source>{name}: not a volume; choose a scalar volume</source>
   <translation>{name}: kein Volumen; ein skalares Volumen auswählen</translation>
  </message>
  <message>
   <source>{name}: holds no voxels; load it again</source>
   <translation>{name}: enthält keine Voxel; es noch einmal laden</translation>
  </message>
  <message>
   <source>a gray image</source>
   <translation>ein Graubild</translation>
  </message>
  <message>
   <source>{name}: {kind}, but the model takes {wanted}; choose another volume</source>
   <translation>{name}: {kind}, das Modell nimmt aber {wanted}; ein anderes Volumen auswählen</translation>
  </message>
  <message>
   <source>{name}: has no segment '{segment}'; choose another segment</source>
   <translation>{name}: hat kein Segment „{segment}“; ein anderes Segment auswählen</translation>
  </message>
  <message>
   <source>{name}: segment '{segment}' is empty; choose another segment</source>
   <translation>{name}: Segment „{segment}“ ist leer; ein anderes Segment auswählen</translation>
  </message>
  <message>
   <source>{name}: a ROI cannot limit a volume under a transform that is not linear; harden the transform, or remove the ROI</source>
   <translation>{name}: eine ROI kann ein Volumen unter einer nichtlinearen Transformation nicht begrenzen; die Transformation anwenden (Harden) oder die ROI entfernen</translation>
  </message>
  <message>
   <source>{name}: an empty box; place the ROI first</source>
   <translation>{name}: ein leerer Kasten; zuerst die ROI platzieren</translation>
  </message>
  <message>
   <source>{name}: its spacing or axes place the voxels nowhere; correct them in module Volumes</source>
   <translation>{name}: sein Voxelabstand oder seine Achsen legen die Voxel nirgendwohin; sie im Modul Volumes berichtigen</translation>
  </message>
 </context>
 <context>
  <name>segment.handingout</name>
  <message>
   <source>The worker on {host} does not see Slicer's DICOM database; to store, let it run on this computer</source>
   <translation>Der Worker auf {host} sieht Slicers DICOM-Datenbank nicht; zum Speichern ihn auf diesem Rechner laufen lassen</translation>
  </message>
  <message>
   <source>no segments of one image that could be reported: segment an image first</source>
   <translation>keine Segmente eines Bildes, über die berichtet werden könnte: zuerst ein Bild segmentieren</translation>
  </message>
  <message>
   <source>no segments of one image of Slicer's DICOM database: segment such an image first</source>
   <translation>keine Segmente eines Bildes aus Slicers DICOM-Datenbank: zuerst ein solches Bild segmentieren</translation>
  </message>
 </context>
 <context>
  <name>segment.logic</name>
  <message>
   <source>{model}: not on this computer, so nobody knows which volumes suit it; choose another model</source>
   <translation>{model}: nicht auf diesem Rechner, also weiß niemand, welche Volumen dazu passen; ein anderes Modell auswählen</translation>
  </message>
  <message>
   <source>{model}: classifies images; mirror and uncertainty are for models that segment</source>
   <translation>{model}: klassifiziert Bilder; mirror und uncertainty sind für Modelle, die segmentieren</translation>
  </message>
  <message>
   <source>no result to revert</source>
   <translation>kein Ergebnis rückgängig zu machen</translation>
  </message>
  <message>
   <source>time point {number} of {count}: {text}</source>
   <translation>Zeitpunkt {number} von {count}: {text}</translation>
  </message>
 </context>
 <context>
  <name>segment.request</name>
  <message>
   <source>The ROI was moved since the result was made: make it again before it is explained</source>
   <translation>Die ROI wurde seit dem Ergebnis verschoben: es noch einmal berechnen, bevor es erklärt wird</translation>
  </message>
 </context>
 <context>
  <name>segment.studyrun</name>
  <message>
   <source>No volume here suits the model: {reasons}</source>
   <translation>Kein Volumen hier passt zum Modell: {reasons}</translation>
  </message>
  <message>
   <source>{count} of {all} images of the study are done</source>
   <translation>{count} von {all} Bildern der Untersuchung sind fertig</translation>
  </message>
  <message>
   <source>{name} ({number} of {count}): {text}</source>
   <translation>{name} ({number} von {count}): {text}</translation>
  </message>
  <message>
   <source>there is none</source>
   <translation>es gibt keines</translation>
  </message>
 </context>
 <context>
  <name>strokes.SegmentEditorEffect</name>
  <message>
   <source>LLMBoost strokes</source>
   <translation>LLMBoost-Striche</translation>
  </message>
  <message>
   <source>Kept as model '{name}': it is used from now on, for the next image and in LLMBoost Segment</source>
   <translation>Als Modell „{name}“ behalten: von jetzt an wird es benutzt, für das nächste Bild und in LLMBoost Segment</translation>
  </message>
  <message>
   <source>Paint a little, get the whole.&lt;ol&gt;&lt;li&gt;Add a segment for each structure; for what is none of them, one named &lt;b&gt;background&lt;/b&gt;. In two or three slices, paint a stroke inside of each with &lt;b&gt;Paint&lt;/b&gt;.&lt;/li&gt;&lt;li&gt;Come back here: the whole is drawn, by a random walker at once, and then by an installed model that knows the structures, if there is one, which learns from the strokes.&lt;/li&gt;&lt;li&gt;Where it is wrong, paint on; &lt;b&gt;Space&lt;/b&gt; goes to and fro. &lt;b&gt;N&lt;/b&gt; shows where a stroke helps most.&lt;/li&gt;&lt;li&gt;&lt;b&gt;Apply&lt;/b&gt;, or &lt;b&gt;Cancel&lt;/b&gt;.&lt;/li&gt;&lt;/ol&gt;What was painted always stays as it was painted. For research only.</source>
   <translation>Wenig malen, das Ganze bekommen.&lt;ol&gt;&lt;li&gt;Für jede Struktur ein Segment hinzufügen; für das, was keine von ihnen ist, eines namens &lt;b&gt;background&lt;/b&gt;. In zwei oder drei Schichten mit &lt;b&gt;Paint&lt;/b&gt; in jede einen Strich malen.&lt;/li&gt;&lt;li&gt;Hierher zurückkommen: das Ganze wird gezeichnet, sofort von einem Random Walker, dann von einem installierten Modell, das die Strukturen kennt, falls es eines gibt, und aus den Strichen lernt.&lt;/li&gt;&lt;li&gt;Wo es falsch ist, weitermalen; &lt;b&gt;Leertaste&lt;/b&gt; wechselt hin und her. &lt;b&gt;N&lt;/b&gt; zeigt, wo ein Strich am meisten hilft.&lt;/li&gt;&lt;li&gt;&lt;b&gt;Apply&lt;/b&gt; oder &lt;b&gt;Cancel&lt;/b&gt;.&lt;/li&gt;&lt;/ol&gt;Was gemalt wurde, bleibt immer, wie es gemalt wurde. Nur für die Forschung.</translation>
  </message>
  <message>
   <source>{model} does not know all that is painted: the random walker draws</source>
   <translation>{model} kennt nicht alles, was gemalt ist: der Random Walker zeichnet</translation>
  </message>
  <message>
   <source>The worker runs on {host}: what was learned cannot be kept on this machine</source>
   <translation>Der Worker läuft auf {host}: was gelernt wurde, kann auf diesem Rechner nicht behalten werden</translation>
  </message>
 </context>
 <context>
  <name>strokes.keeping</name>
  <message>
   <source>Added as case {names}: all of the result counts. Train makes a model of the cases that were added</source>
   <translation>Als Fall {names} hinzugefügt: alles im Ergebnis zählt. Trainieren macht ein Modell aus den hinzugefügten Fällen</translation>
  </message>
  <message>
   <source>Added as case {names}: what is painted counts, no more. Train makes a model of the cases that were added</source>
   <translation>Als Fall {names} hinzugefügt: was gemalt ist, zählt, sonst nichts. Trainieren macht ein Modell aus den hinzugefügten Fällen</translation>
  </message>
 </context>
 <context>
  <name>strokes.options</name>
  <message>
   <source>Around the strokes</source>
   <translation>Um die Striche</translation>
  </message>
  <message>
   <source>one unsure place</source>
   <translation>eine unsichere Stelle</translation>
  </message>
  <message>
   <source>{count} unsure places</source>
   <translation>{count} unsichere Stellen</translation>
  </message>
  <message>
   <source>no unsure place</source>
   <translation>keine unsichere Stelle</translation>
  </message>
  <message>
   <source>Learn from the strokes</source>
   <translation>Aus den Strichen lernen</translation>
  </message>
  <message>
   <source>Model:</source>
   <translation>Modell:</translation>
  </message>
  <message>
   <source>Region:</source>
   <translation>Bereich:</translation>
  </message>
  <message>
   <source>Next unsure place (N)</source>
   <translation>Nächste unsichere Stelle (N)</translation>
  </message>
  <message>
   <source>Keep as a model</source>
   <translation>Als Modell behalten</translation>
  </message>
  <message>
   <source>Add this case</source>
   <translation>Diesen Fall hinzufügen</translation>
  </message>
  <message>
   <source>All of the result is right</source>
   <translation>Das ganze Ergebnis stimmt</translation>
  </message>
  <message>
   <source>Train...</source>
   <translation>Trainieren ...</translation>
  </message>
  <message>
   <source>{model}, taught by one stroke</source>
   <translation>{model}, belehrt durch einen Strich</translation>
  </message>
  <message>
   <source>{model}, taught by {count} strokes</source>
   <translation>{model}, belehrt durch {count} Striche</translation>
  </message>
  <message>
   <source>{model}, taught by one stroke (by {share:.0%} of what it says)</source>
   <translation>{model}, belehrt durch einen Strich (zu {share:.0%} dessen, was er sagt)</translation>
  </message>
  <message>
   <source>{model}, taught by {count} strokes (by {share:.0%} of what they say)</source>
   <translation>{model}, belehrt durch {count} Striche (zu {share:.0%} dessen, was sie sagen)</translation>
  </message>
  <message>
   <source>{model} as it is: it agrees with one stroke</source>
   <translation>{model}, wie es ist: es stimmt mit einem Strich überein</translation>
  </message>
  <message>
   <source>{model} as it is: it agrees with {count} strokes</source>
   <translation>{model}, wie es ist: es stimmt mit {count} Strichen überein</translation>
  </message>
  <message>
   <source>Models that know the segments, by name or SNOMED CT code; automatic: your own newest one first. The random walker needs none: it spreads the strokes as far as the image is alike</source>
   <translation>Modelle, die die Segmente kennen, durch Namen oder SNOMED-CT-Code; automatisch: das eigene neueste zuerst. Der Random Walker braucht keines: er breitet die Striche aus, so weit das Bild gleich aussieht</translation>
  </message>
  <message>
   <source>The model learns from what is painted, where that helps; unticked, the random walker alone draws</source>
   <translation>Das Modell lernt aus dem, was gemalt ist, wo das hilft; ohne Haken zeichnet der Random Walker allein</translation>
  </message>
  <message>
   <source>Where to compute: a ROI, or what lies around the strokes</source>
   <translation>Wo gerechnet wird: in einer ROI, oder um die Striche herum</translation>
  </message>
  <message>
   <source>Show in the slice views where a stroke would help most</source>
   <translation>In den Schichtansichten zeigen, wo ein Strich am meisten helfen würde</translation>
  </message>
  <message>
   <source>Make a model of what was learned: LLMBoost Segment lists it, and the next image starts from it</source>
   <translation>Aus dem Gelernten ein Modell machen: LLMBoost Segment führt es auf, und das nächste Bild beginnt damit</translation>
  </message>
  <message>
   <source>Add the image to the cases of LLMBoost Train: what is painted counts, the rest is not labeled</source>
   <translation>Das Bild zu den Fällen von LLMBoost Train hinzufügen: was gemalt ist, zählt, der Rest ist nicht gelabelt</translation>
  </message>
  <message>
   <source>Add the whole result, not only what is painted</source>
   <translation>Das ganze Ergebnis hinzufügen, nicht nur, was gemalt ist</translation>
  </message>
  <message>
   <source>Open LLMBoost Train, where a model learns from the cases that were added</source>
   <translation>LLMBoost Train öffnen, wo ein Modell aus den hinzugefügten Fällen lernt</translation>
  </message>
  <message>
   <source>Automatic</source>
   <translation>Automatisch</translation>
  </message>
  <message>
   <source>None: random walker</source>
   <translation>Keines: Random Walker</translation>
  </message>
  <message>
   <source> · a model learns ...</source>
   <translation> · ein Modell lernt ...</translation>
  </message>
  <message>
   <source>Random walker from one stroke</source>
   <translation>Random Walker aus einem Strich</translation>
  </message>
  <message>
   <source>Random walker from {count} strokes</source>
   <translation>Random Walker aus {count} Strichen</translation>
  </message>
 </context>
 <context>
  <name>strokes.run</name>
  <message>
   <source>{name}: nothing is painted; paint a stroke in each segment</source>
   <translation>{name}: nichts ist gemalt; in jedes Segment einen Strich malen</translation>
  </message>
  <message>
   <source>No model knows all that is painted: there is nothing to keep; add it as a case instead</source>
   <translation>Kein Modell kennt alles, was gemalt ist: es gibt nichts zu behalten; es stattdessen als Fall hinzufügen</translation>
  </message>
  <message>
   <source>{name} by strokes</source>
   <translation>{name} nach Strichen</translation>
  </message>
  <message>
   <source>{model}: does not know all that is painted</source>
   <translation>{model}: kennt nicht alles, was gemalt ist</translation>
  </message>
  <message>
   <source>{model} agrees with the strokes: there is nothing to keep</source>
   <translation>{model} stimmt mit den Strichen überein: es gibt nichts zu behalten</translation>
  </message>
 </context>
 <context>
  <name>training.adaptersview</name>
  <message>
   <source>before → after, of the cases that were kept for checking</source>
   <translation>vorher → nachher, auf den Fällen, die zum Prüfen beiseitegelegt waren</translation>
  </message>
  <message>
   <source>{path}: needs the base model {base} {version}; import that first</source>
   <translation>{path}: braucht das Basismodell {base} {version}; es zuerst importieren</translation>
  </message>
  <message>
   <source>Name</source>
   <translation>Name</translation>
  </message>
  <message>
   <source>Base</source>
   <translation>Basis</translation>
  </message>
  <message>
   <source>Cases</source>
   <translation>Fälle</translation>
  </message>
  <message>
   <source>Dice</source>
   <translation>Dice</translation>
  </message>
  <message>
   <source>MB</source>
   <translation>MB</translation>
  </message>
  <message>
   <source>to learn from</source>
   <translation>aus denen gelernt wurde</translation>
  </message>
  <message>
   <source>none</source>
   <translation>keine</translation>
  </message>
  <message>
   <source>not here</source>
   <translation>nicht hier</translation>
  </message>
  <message>
   <source>Import a model</source>
   <translation>Ein Modell importieren</translation>
  </message>
  <message>
   <source>Delete the model '{name}' from this computer?</source>
   <translation>Das Modell „{name}“ von diesem Rechner löschen?</translation>
  </message>
  <message>
   <source>Export {name} to a folder</source>
   <translation>{name} in einen Ordner exportieren</translation>
  </message>
  <message>
   <source>LLMBoost models</source>
   <translation>LLMBoost-Modelle</translation>
  </message>
 </context>
 <context>
  <name>training.candidate</name>
  <message>
   <source>{doubts}; {advice} (anyway=True accepts it all the same)</source>
   <translation>{doubts}; {advice} (anyway=True nimmt es trotzdem an)</translation>
  </message>
  <message>
   <source>{path}: cannot be written ({reason}); check the free space</source>
   <translation>{path}: kann nicht geschrieben werden ({reason}); den freien Platz prüfen</translation>
  </message>
  <message>
   <source>'{name}' cannot be a model's name: take letters, digits and hyphens</source>
   <translation>„{name}“ kann kein Modellname sein: Buchstaben, Ziffern und Bindestriche nehmen</translation>
  </message>
  <message>
   <source>A model named '{name}' is installed already: choose another name</source>
   <translation>Ein Modell namens „{name}“ ist schon installiert: einen anderen Namen wählen</translation>
  </message>
 </context>
 <context>
  <name>training.candidateview</name>
  <message>
   <source>Checked on every case ({count}), each by one of {folds} networks that had not seen it: Dice {dice}.</source>
   <translation>Auf jedem Fall geprüft ({count}), jeder durch eines von {folds} Netzen, das ihn nicht gesehen hatte: Dice {dice}.</translation>
  </message>
  <message>
   <source>Case</source>
   <translation>Fall</translation>
  </message>
  <message>
   <source>Before</source>
   <translation>Vorher</translation>
  </message>
  <message>
   <source>After</source>
   <translation>Nachher</translation>
  </message>
  <message>
   <source>Change</source>
   <translation>Änderung</translation>
  </message>
  <message>
   <source>Checked</source>
   <translation>Geprüft</translation>
  </message>
  <message>
   <source>Labels</source>
   <translation>Labels</translation>
  </message>
  <message>
   <source>the time was up</source>
   <translation>die Zeit war um</translation>
  </message>
  <message>
   <source>stopped by you</source>
   <translation>von Ihnen angehalten</translation>
  </message>
  <message>
   <source>it got no better any more</source>
   <translation>es wurde nicht mehr besser</translation>
  </message>
  <message>
   <source>Dice of what it has not learned from ({count}): {change}.</source>
   <translation>Dice auf dem, woraus es nicht gelernt hat ({count}): {change}.</translation>
  </message>
  <message>
   <source>Dice of cases like those that the base learned from: {change}.</source>
   <translation>Dice auf Fällen wie denen, aus denen die Basis gelernt hat: {change}.</translation>
  </message>
  <message>
   <source>{name}: {steps} steps in {time} ({reason}).</source>
   <translation>{name}: {steps} Schritte in {time} ({reason}).</translation>
  </message>
  <message>
   <source>    and {count} labels more</source>
   <translation>    und {count} weitere Labels</translation>
  </message>
 </context>
 <context>
  <name>training.cases</name>
  <message>
   <source>{folder}: not a folder of LLMBoost Train's; choose an empty one ({file} there is another program's)</source>
   <translation>{folder}: kein Ordner von LLMBoost Train; einen leeren auswählen ({file} dort gehört einem anderen Programm)</translation>
  </message>
  <message>
   <source>{path}: written by a newer LLMBoost; update the extension</source>
   <translation>{path}: von einem neueren LLMBoost geschrieben; die Erweiterung aktualisieren</translation>
  </message>
  <message>
   <source>{path}: cannot be read ({reason}); mend it, or choose another folder</source>
   <translation>{path}: kann nicht gelesen werden ({reason}); es in Ordnung bringen oder einen anderen Ordner auswählen</translation>
  </message>
  <message>
   <source>{path}: cannot be written ({reason}); check its folder and the free space</source>
   <translation>{path}: kann nicht geschrieben werden ({reason}); seinen Ordner und den freien Platz prüfen</translation>
  </message>
  <message>
   <source>a case has segments of no kind</source>
   <translation>ein Fall hat Segmente ohne Art</translation>
  </message>
 </context>
 <context>
  <name>training.casesection</name>
  <message>
   <source>Delete the copy of this case? Nodes in the scene stay.</source>
   <translation>Die Kopie dieses Falls löschen? Knoten in der Szene bleiben.</translation>
  </message>
  <message>
   <source>Delete the copies of {count} cases? Nodes in the scene stay.</source>
   <translation>Die Kopien von {count} Fällen löschen? Knoten in der Szene bleiben.</translation>
  </message>
  <message>
   <source>{name} is a case now ({count} in all)</source>
   <translation>{name} ist jetzt ein Fall ({count} insgesamt)</translation>
  </message>
  <message>
   <source>A folder with dataset.json, imagesTr and labelsTr</source>
   <translation>Ein Ordner mit dataset.json, imagesTr und labelsTr</translation>
  </message>
  <message>
   <source>crops of it are cases now: {name} ({count} in all)</source>
   <translation>Ausschnitte davon sind jetzt Fälle: {name} ({count} insgesamt)</translation>
  </message>
  <message>
   <source>One case added from the scene</source>
   <translation>Ein Fall aus der Szene hinzugefügt</translation>
  </message>
  <message>
   <source>{count} cases added from the scene</source>
   <translation>{count} Fälle aus der Szene hinzugefügt</translation>
  </message>
  <message>
   <source>One case copied from {folder}</source>
   <translation>Ein Fall aus {folder} kopiert</translation>
  </message>
  <message>
   <source>{count} cases copied from {folder}</source>
   <translation>{count} Fälle aus {folder} kopiert</translation>
  </message>
  <message>
   <source>Copying cases</source>
   <translation>Fälle werden kopiert</translation>
  </message>
  <message>
   <source>{folder} is made with the first case</source>
   <translation>{folder} wird mit dem ersten Fall angelegt</translation>
  </message>
 </context>
 <context>
  <name>training.casestore</name>
  <message>
   <source>'{role}' is no use of a case; take one of {roles}</source>
   <translation>„{role}“ ist keine Verwendung eines Falls; eine von {roles} nehmen</translation>
  </message>
  <message>
   <source>{folder}: not a folder of LLMBoost Train's; choose an empty one (it holds {name})</source>
   <translation>{folder}: kein Ordner von LLMBoost Train; einen leeren auswählen (er enthält {name})</translation>
  </message>
  <message>
   <source>{folder}: too many kinds of segments; use another folder</source>
   <translation>{folder}: zu viele Arten von Segmenten; einen anderen Ordner benutzen</translation>
  </message>
  <message>
   <source>{folder}: cannot be read ({reason}); choose another folder</source>
   <translation>{folder}: kann nicht gelesen werden ({reason}); einen anderen Ordner auswählen</translation>
  </message>
  <message>
   <source>case {id}: its image was changed since; remove the case, and add the image again</source>
   <translation>Fall {id}: sein Bild wurde seitdem geändert; den Fall entfernen und das Bild noch einmal hinzufügen</translation>
  </message>
  <message>
   <source>case {id}: has no segments; draw them with Edit, then it can be used to {role}</source>
   <translation>Fall {id}: hat keine Segmente; sie mit Bearbeiten zeichnen, dann kann er als {role} verwendet werden</translation>
  </message>
  <message>
   <source>case {id}: is not in {folder} any more</source>
   <translation>Fall {id}: ist nicht mehr in {folder}</translation>
  </message>
  <message>
   <source>{folder}: a file; choose a folder</source>
   <translation>{folder}: eine Datei; einen Ordner auswählen</translation>
  </message>
 </context>
 <context>
  <name>training.casesview</name>
  <message>
   <source>No cases yet. Segment an image, correct the segments, and add both here: by Add, or by 'Add this case' in LLMBoost Segment.</source>
   <translation>Noch keine Fälle. Ein Bild segmentieren, die Segmente korrigieren und beides hier hinzufügen: mit Hinzufügen, oder mit „Diesen Fall hinzufügen“ in LLMBoost Segment.</translation>
  </message>
  <message>
   <source>train: learned from; val: checks the training; test: kept out of it; unlabeled: waits to be labeled</source>
   <translation>train: daraus wird gelernt; val: prüft das Training; test: bleibt außen vor; ungelabelt: wartet auf Labels</translation>
  </message>
  <message>
   <source>What has no segment is background; or it is background, but a label that is missing was not drawn and may be anywhere in it; or it is not labeled: only what has a segment is learned from.</source>
   <translation>Was kein Segment hat, ist Hintergrund; oder es ist Hintergrund, aber ein fehlendes Label wurde nicht gezeichnet und kann überall darin sein; oder es ist nicht gelabelt: nur aus dem, was ein Segment hat, wird gelernt.</translation>
  </message>
  <message>
   <source>Labels: {used} of {count} kinds of segments are learned</source>
   <translation>Labels: {used} von {count} Arten von Segmenten werden gelernt</translation>
  </message>
  <message>
   <source>Case</source>
   <translation>Fall</translation>
  </message>
  <message>
   <source>Use</source>
   <translation>Verwendung</translation>
  </message>
  <message>
   <source>Outside</source>
   <translation>Außerhalb</translation>
  </message>
  <message>
   <source>State</source>
   <translation>Zustand</translation>
  </message>
  <message>
   <source>background</source>
   <translation>Hintergrund</translation>
  </message>
  <message>
   <source>some not drawn</source>
   <translation>einiges nicht gezeichnet</translation>
  </message>
  <message>
   <source>not labeled</source>
   <translation>nicht gelabelt</translation>
  </message>
  <message>
   <source>background: not learned</source>
   <translation>Hintergrund: nicht gelernt</translation>
  </message>
  <message>
   <source>ignore: not labeled</source>
   <translation>ignorieren: nicht gelabelt</translation>
  </message>
  <message>
   <source>Segment</source>
   <translation>Segment</translation>
  </message>
  <message>
   <source>Label</source>
   <translation>Label</translation>
  </message>
  <message>
   <source>unlabeled</source>
   <translation>ungelabelt</translation>
  </message>
  <message>
   <source>the segmentation in the scene was edited since: 'Update case' copies it</source>
   <translation>die Segmentierung in der Szene wurde seitdem bearbeitet: „Fall aktualisieren“ kopiert sie</translation>
  </message>
  <message>
   <source>to be labeled</source>
   <translation>zu labeln</translation>
  </message>
  <message>
   <source>ready</source>
   <translation>bereit</translation>
  </message>
  <message>
   <source>no label yet</source>
   <translation>noch kein Label</translation>
  </message>
  <message>
   <source>in one case</source>
   <translation>in einem Fall</translation>
  </message>
  <message>
   <source>in {count} cases</source>
   <translation>in {count} Fällen</translation>
  </message>
  <message>
   <source>found by: {how}</source>
   <translation>gefunden durch: {how}</translation>
  </message>
  <message>
   <source>and {count} more</source>
   <translation>und {count} weitere</translation>
  </message>
  <message>
   <source>no segments</source>
   <translation>keine Segmente</translation>
  </message>
  <message>
   <source>SNOMED: {meaning}</source>
   <translation>SNOMED: {meaning}</translation>
  </message>
 </context>
 <context>
  <name>training.compare</name>
  <message>
   <source>{name} before training</source>
   <translation>{name} vor dem Training</translation>
  </message>
  <message>
   <source>{name} after training</source>
   <translation>{name} nach dem Training</translation>
  </message>
 </context>
 <context>
  <name>training.crops</name>
  <message>
   <source>{structure}: what was drawn of it reaches over {reach} mm, and the model looks at {window} mm at once; remove what lies elsewhere with Edit (Islands), then add it again</source>
   <translation>{structure}: was davon gezeichnet wurde, reicht über {reach} mm, und das Modell sieht {window} mm auf einmal; mit Bearbeiten (Islands) entfernen, was anderswo liegt, dann noch einmal hinzufügen</translation>
  </message>
 </context>
 <context>
  <name>training.curves</name>
  <message>
   <source>Step</source>
   <translation>Schritt</translation>
  </message>
  <message>
   <source>Loss, Dice</source>
   <translation>Loss, Dice</translation>
  </message>
  <message>
   <source>Loss</source>
   <translation>Loss</translation>
  </message>
  <message>
   <source>Dice, mean</source>
   <translation>Dice, Mittel</translation>
  </message>
  <message>
   <source>Training</source>
   <translation>Training</translation>
  </message>
 </context>
 <context>
  <name>training.filechanges</name>
  <message>
   <source>{path}: cannot be written ({reason}); check the folder's permissions and free space</source>
   <translation>{path}: kann nicht geschrieben werden ({reason}); die Berechtigungen des Ordners und den freien Platz prüfen</translation>
  </message>
  <message>
   <source>{folder}: cannot be written ({reason}); check the permissions around it</source>
   <translation>{folder}: kann nicht geschrieben werden ({reason}); die Berechtigungen darum herum prüfen</translation>
  </message>
 </context>
 <context>
  <name>training.logic</name>
  <message>
   <source>The same labels, better</source>
   <translation>Dieselben Labels, besser</translation>
  </message>
  <message>
   <source>New labels, those of the cases</source>
   <translation>Neue Labels, die der Fälle</translation>
  </message>
 </context>
 <context>
  <name>training.mapping</name>
  <message>
   <source>the SNOMED code of '{name}' says {other}, not {label}: look which one is right</source>
   <translation>der SNOMED-Code von „{name}“ sagt {other}, nicht {label}: nachsehen, was stimmt</translation>
  </message>
  <message>
   <source>'{name}' was taken for {label}: look whether that is right</source>
   <translation>„{name}“ wurde für {label} gehalten: nachsehen, ob das stimmt</translation>
  </message>
  <message>
   <source>chosen</source>
   <translation>gewählt</translation>
  </message>
  <message>
   <source>code</source>
   <translation>Code</translation>
  </message>
  <message>
   <source>name</source>
   <translation>Name</translation>
  </message>
  <message>
   <source>part of name</source>
   <translation>Teil des Namens</translation>
  </message>
  <message>
   <source>its own name</source>
   <translation>eigener Name</translation>
  </message>
  <message>
   <source>name, code</source>
   <translation>Name, Code</translation>
  </message>
  <message>
   <source>'{name}' has no label: choose one</source>
   <translation>„{name}“ hat kein Label: eines auswählen</translation>
  </message>
 </context>
 <context>
  <name>training.nextsection</name>
  <message>
   <source>ranking</source>
   <translation>Reihenfolge wird bestimmt</translation>
  </message>
  <message>
   <source>segmenting</source>
   <translation>Segmentieren</translation>
  </message>
  <message>
   <source>ranked: {count}</source>
   <translation>Reihenfolge bestimmt: {count}</translation>
  </message>
  <message>
   <source>Correct the segments, then save them to the case</source>
   <translation>Die Segmente korrigieren, dann in den Fall speichern</translation>
  </message>
 </context>
 <context>
  <name>training.nextview</name>
  <message>
   <source>No unlabeled cases: add images without a segmentation, and the model tells which to label first.</source>
   <translation>Keine ungelabelten Fälle: Bilder ohne Segmentierung hinzufügen, und das Modell sagt, welches zuerst zu labeln ist.</translation>
  </message>
  <message>
   <source>Case</source>
   <translation>Fall</translation>
  </message>
  <message>
   <source>Uncertainty</source>
   <translation>Unsicherheit</translation>
  </message>
  <message>
   <source>Diversity</source>
   <translation>Verschiedenheit</translation>
  </message>
  <message>
   <source>The first would teach the model most.</source>
   <translation>Der erste würde das Modell am meisten lehren.</translation>
  </message>
  <message>
   <source>One unlabeled case, not ranked yet.</source>
   <translation>Ein ungelabelter Fall, noch ohne Reihenfolge.</translation>
  </message>
  <message>
   <source>{count} unlabeled cases, not ranked yet.</source>
   <translation>{count} ungelabelte Fälle, noch ohne Reihenfolge.</translation>
  </message>
 </context>
 <context>
  <name>training.panel</name>
  <message>
   <source>{before} (outlines) and {after} (filled) are in the views</source>
   <translation>{before} (Umrisse) und {after} (gefüllt) sind in den Ansichten</translation>
  </message>
  <message>
   <source>segmenting</source>
   <translation>Segmentieren</translation>
  </message>
  <message>
   <source>cancelled, for the scene was closed</source>
   <translation>abgebrochen, denn die Szene wurde geschlossen</translation>
  </message>
  <message>
   <source>one case</source>
   <translation>ein Fall</translation>
  </message>
  <message>
   <source>{count} cases</source>
   <translation>{count} Fälle</translation>
  </message>
  <message>
   <source>Delete all copies of cases in {folder}?</source>
   <translation>Alle Kopien von Fällen in {folder} löschen?</translation>
  </message>
  <message>
   <source>Case {name}</source>
   <translation>Fall {name}</translation>
  </message>
  <message>
   <source>Choose an image first, above the cases</source>
   <translation>Zuerst ein Bild auswählen, über den Fällen</translation>
  </message>
  <message>
   <source>{name}: the segments were copied into the case</source>
   <translation>{name}: die Segmente wurden in den Fall kopiert</translation>
  </message>
 </context>
 <context>
  <name>training.plan</name>
  <message>
   <source>No case to train with: add an image with its segmentation, or set a labeled case to 'train'</source>
   <translation>Kein Fall zum Trainieren: ein Bild mit seiner Segmentierung hinzufügen, oder einen gelabelten Fall auf „train“ setzen</translation>
  </message>
  <message>
   <source>In no case to train with the rest is labeled, so there is no background to learn: choose 'background' under 'Outside' for a case that is complete, or draw a segment named 'background'</source>
   <translation>In keinem Fall zum Trainieren ist der Rest gelabelt, also gibt es keinen Hintergrund zu lernen: für einen vollständigen Fall unter „Außerhalb“ „Hintergrund“ auswählen, oder ein Segment namens „background“ zeichnen</translation>
  </message>
  <message>
   <source>No case to train with shows {names}: what the base knows of it is all there is</source>
   <translation>Kein Fall zum Trainieren zeigt {names}: mehr, als die Basis davon weiß, gibt es nicht</translation>
  </message>
  <message>
   <source>shows the same patient as case {other}, which is used to {role}: use both for the same</source>
   <translation>zeigt denselben Patienten wie Fall {other}, der als {role} verwendet wird: beide für dasselbe verwenden</translation>
  </message>
  <message>
   <source>its modality is {told}, the base was trained on {expected}: look whether that suits</source>
   <translation>seine Modalität ist {told}, die Basis wurde auf {expected} trainiert: nachsehen, ob das passt</translation>
  </message>
  <message>
   <source>One voxel lies in several segments, and counts for the last one: mend it with Edit</source>
   <translation>Ein Voxel liegt in mehreren Segmenten und zählt für das letzte: mit Bearbeiten in Ordnung bringen</translation>
  </message>
  <message>
   <source>{count} voxels lie in several segments, and count for the last one: mend it with Edit</source>
   <translation>{count} Voxel liegen in mehreren Segmenten und zählen für das letzte: mit Bearbeiten in Ordnung bringen</translation>
  </message>
  <message>
   <source>too thin ({extent}) for a base that looks at {window} at once: take an image of more slices</source>
   <translation>zu dünn ({extent}) für eine Basis, die {window} auf einmal sieht: ein Bild mit mehr Schichten nehmen</translation>
  </message>
  <message>
   <source>every fourth is kept aside to check with</source>
   <translation>jeder vierte wird zum Prüfen beiseitegelegt</translation>
  </message>
  <message>
   <source>too few to check the result with</source>
   <translation>zu wenige, um das Ergebnis zu prüfen</translation>
  </message>
  <message>
   <source>Nothing to learn: no kind of segment is a label</source>
   <translation>Nichts zu lernen: keine Art von Segment ist ein Label</translation>
  </message>
  <message>
   <source>its files are gone: remove it, and add it again</source>
   <translation>seine Dateien sind weg: ihn entfernen und noch einmal hinzufügen</translation>
  </message>
  <message>
   <source>has nothing to learn: draw a segment with Edit, or set it to 'unlabeled'</source>
   <translation>hat nichts zu lernen: ein Segment mit Bearbeiten zeichnen, oder ihn auf „ungelabelt“ setzen</translation>
  </message>
  <message>
   <source>no {names}: {rest}; choose otherwise under 'Outside' if that is wrong</source>
   <translation>kein {names}: {rest}; unter „Außerhalb“ anders auswählen, wenn das falsch ist</translation>
  </message>
  <message>
   <source>too large ({extent}), the base trains on crops of {window}: crop it around the structure with module Crop Volume, and add that</source>
   <translation>zu groß ({extent}), die Basis trainiert auf Ausschnitten von {window}: es mit dem Modul Crop Volume um die Struktur zuschneiden und das hinzufügen</translation>
  </message>
  <message>
   <source>{count} to check with</source>
   <translation>{count} zum Prüfen</translation>
  </message>
  <message>
   <source>{count} to train with</source>
   <translation>{count} zum Trainieren</translation>
  </message>
  <message>
   <source>, in the section Labels</source>
   <translation>, im Abschnitt Labels</translation>
  </message>
  <message>
   <source>what has no segment counts as not labeled</source>
   <translation>was kein Segment hat, zählt als nicht gelabelt</translation>
  </message>
  <message>
   <source>{count} unlabeled</source>
   <translation>{count} ungelabelt</translation>
  </message>
  <message>
   <source>'{name}' does not segment single images: choose another base</source>
   <translation>„{name}“ segmentiert keine einzelnen Bilder: eine andere Basis auswählen</translation>
  </message>
  <message>
   <source>the same image as case {twin}: remove one of them</source>
   <translation>dasselbe Bild wie Fall {twin}: einen davon entfernen</translation>
  </message>
  <message>
   <source>it counts as not drawn, wherever it is</source>
   <translation>es zählt als nicht gezeichnet, wo immer es ist</translation>
  </message>
  <message>
   <source>it counts as absent</source>
   <translation>es zählt als nicht vorhanden</translation>
  </message>
  <message>
   <source>large ({extent}) for a base that looks at {window} at once: cropping it saves time</source>
   <translation>groß ({extent}) für eine Basis, die {window} auf einmal sieht: Zuschneiden spart Zeit</translation>
  </message>
 </context>
 <context>
  <name>training.resultsection</name>
  <message>
   <source>Tell how good it is by every case, not by what was kept aside alone: {folds} more networks learn as long as it did, each without some of the cases, and segment those. It stays as it is.</source>
   <translation>Nach jedem Fall sagen, wie gut es ist, nicht nur nach dem, was beiseitegelegt war: {folds} weitere Netze lernen so lange, wie es gelernt hat, jedes ohne einige der Fälle, und segmentieren diese. Es bleibt, wie es ist.</translation>
  </message>
  <message>
   <source>Takes cases of {count} patients to train with at least: add some, and train again.</source>
   <translation>Braucht Fälle von mindestens {count} Patienten zum Trainieren: einige hinzufügen und noch einmal trainieren.</translation>
  </message>
  <message>
   <source>C&amp;heck on every case</source>
   <translation>Auf jedem Fall p&amp;rüfen</translation>
  </message>
  <message>
   <source>{doubts}.

{advice}. Accept it all the same?</source>
   <translation>{doubts}.

{advice}. Trotzdem annehmen?</translation>
  </message>
  <message>
   <source>Discarded</source>
   <translation>Verworfen</translation>
  </message>
  <message>
   <source>C&amp;heck on every case (about {time})</source>
   <translation>Auf jedem Fall p&amp;rüfen (etwa {time})</translation>
  </message>
  <message>
   <source>This case was removed since: choose another one</source>
   <translation>Dieser Fall wurde seitdem entfernt: einen anderen auswählen</translation>
  </message>
  <message>
   <source>{name} is in the list of LLMBoost Segment</source>
   <translation>{name} steht in der Liste von LLMBoost Segment</translation>
  </message>
 </context>
 <context>
  <name>training.snapshot</name>
  <message>
   <source>{folder}: {count} images a case; this panel takes one image a case</source>
   <translation>{folder}: {count} Bilder je Fall; hier gilt ein Bild je Fall</translation>
  </message>
  <message>
   <source>{name}: holds NaN or infinite voxels; replace them by numbers</source>
   <translation>{name}: enthält NaN oder unendliche Voxel; sie durch Zahlen ersetzen</translation>
  </message>
  <message>
   <source>{path}: lies on another grid than its image; mend it, then import again</source>
   <translation>{path}: liegt auf einem anderen Gitter als sein Bild; das in Ordnung bringen, dann noch einmal importieren</translation>
  </message>
 </context>
 <context>
  <name>training.trainingrun</name>
  <message>
   <source>a training runs already; wait for it, or cancel it</source>
   <translation>ein Training läuft schon; darauf warten oder es abbrechen</translation>
  </message>
  <message>
   <source>{name}: what it would go on from is gone; train it anew</source>
   <translation>{name}: wovon es weitergehen würde, ist weg; es neu trainieren</translation>
  </message>
  <message>
   <source>The worker runs on another computer, {host}, but cases do not leave this one: nothing was sent. To train here, clear the worker's command under Advanced of LLMBoost Segment</source>
   <translation>Der Worker läuft auf einem anderen Rechner, {host}, aber Fälle verlassen diesen nicht: nichts wurde gesendet. Um hier zu trainieren, den Befehl des Workers unter Erweitert in LLMBoost Segment löschen</translation>
  </message>
 </context>
 <context>
  <name>training.trainingsection</name>
  <message>
   <source>The model '{name}' waits for a decision. Discard it, and train again?</source>
   <translation>Das Modell „{name}“ wartet auf eine Entscheidung. Es verwerfen und noch einmal trainieren?</translation>
  </message>
  <message>
   <source>Done in {time} ({planned} planned): accept or discard the result</source>
   <translation>Fertig in {time} ({planned} geplant): das Ergebnis annehmen oder verwerfen</translation>
  </message>
  <message>
   <source>&amp;Cancel</source>
   <translation>&amp;Abbrechen</translation>
  </message>
  <message>
   <source>&amp;Start</source>
   <translation>&amp;Starten</translation>
  </message>
  <message>
   <source>Train with these cases</source>
   <translation>Mit diesen Fällen trainieren</translation>
  </message>
  <message>
   <source>One case has problems, told below the table: mend them</source>
   <translation>Ein Fall hat Probleme, die unter der Tabelle stehen: sie beheben</translation>
  </message>
  <message>
   <source>starting</source>
   <translation>beginnt</translation>
  </message>
  <message>
   <source>coming to an end</source>
   <translation>kommt zum Ende</translation>
  </message>
  <message>
   <source>Checked on every case in {time} ({planned} expected): accept or discard the result</source>
   <translation>Auf jedem Fall geprüft in {time} ({planned} erwartet): das Ergebnis annehmen oder verwerfen</translation>
  </message>
  <message>
   <source>Stop, and keep nothing</source>
   <translation>Anhalten und nichts behalten</translation>
  </message>
  <message>
   <source>Choose a base model</source>
   <translation>Ein Basismodell auswählen</translation>
  </message>
  <message>
   <source>cancelled</source>
   <translation>abgebrochen</translation>
  </message>
  <message>
   <source>about {time} on this machine</source>
   <translation>etwa {time} auf diesem Rechner</translation>
  </message>
  <message>
   <source>{count} cases have problems, told below the table: mend them</source>
   <translation>{count} Fälle haben Probleme, die unter der Tabelle stehen: sie beheben</translation>
  </message>
  <message>
   <source>checked: Dice {dice:.3f}</source>
   <translation>geprüft: Dice {dice:.3f}</translation>
  </message>
  <message>
   <source>Kept aside to check with: {names}</source>
   <translation>Zum Prüfen beiseitegelegt: {names}</translation>
  </message>
 </context>
 <context>
  <name>worker.consent</name>
  <message>
   <source>Not installed yet: Apply asks before it installs what the computation needs.</source>
   <translation>Noch nicht installiert: Anwenden fragt, bevor es installiert, was die Berechnung braucht.</translation>
  </message>
  <message>
   <source>The worker runs on another computer: {host}.

The image leaves this machine. Its voxels and its position are sent, names and DICOM headers are not. Send images to {host} from now on?</source>
   <translation>Der Worker läuft auf einem anderen Rechner: {host}.

Das Bild verlässt diesen Rechner. Gesendet werden seine Voxel und seine Lage, Namen und DICOM-Kopfdaten nicht. Von jetzt an Bilder an {host} senden?</translation>
  </message>
  <message>
   <source>Not installed yet: Apply asks before it makes a private environment for the computation.</source>
   <translation>Noch nicht installiert: Anwenden fragt, bevor es eine eigene Umgebung für die Berechnung anlegt.</translation>
  </message>
  <message>
   <source>Not installed yet: {why}.</source>
   <translation>Noch nicht installiert: {why}.</translation>
  </message>
  <message>
   <source>Nothing was sent to {host}. To compute on this machine, clear the worker's command under Advanced</source>
   <translation>Nichts wurde an {host} gesendet. Um auf diesem Rechner zu rechnen, den Befehl des Workers unter Erweitert löschen</translation>
  </message>
  <message>
   <source>The worker's command cannot be read ({error}); correct it under Advanced</source>
   <translation>Der Befehl des Workers kann nicht gelesen werden ({error}); ihn unter Erweitert berichtigen</translation>
  </message>
 </context>
 <context>
  <name>worker.folderrun</name>
  <message>
   <source>{folder}: cancelled; the cases that were finished are there, and resume=True does the others</source>
   <translation>{folder}: abgebrochen; die fertigen Fälle sind da, und resume=True rechnet die anderen</translation>
  </message>
  <message>
   <source>llmboost {command} ended with status {status}</source>
   <translation>llmboost {command} endete mit dem Status {status}</translation>
  </message>
  <message>
   <source>overview of all cases: {page}</source>
   <translation>Übersicht aller Fälle: {page}</translation>
  </message>
 </context>
 <context>
  <name>worker.troubles</name>
  <message>
   <source>Check the worker's command under Advanced (application setting {setting})</source>
   <translation>Den Befehl des Workers unter Erweitert prüfen (Einstellung {setting})</translation>
  </message>
  <message>
   <source>Look whether its machine and the connection to it are well, then try again</source>
   <translation>Nachsehen, ob sein Rechner und die Verbindung dorthin in Ordnung sind, dann noch einmal versuchen</translation>
  </message>
  <message>
   <source>This is a defect of LLMBoost, or of what the worker's command runs; please report it</source>
   <translation>Das ist ein Fehler von LLMBoost oder von dem, was der Befehl des Workers startet; bitte melden</translation>
  </message>
  <message>
   <source>It may have needed more memory than there is; limit it to a region of interest, or try again</source>
   <translation>Vielleicht brauchte es mehr Arbeitsspeicher, als da ist; es auf eine ROI begrenzen oder noch einmal versuchen</translation>
  </message>
  <message>
   <source>a training runs</source>
   <translation>ein Training läuft</translation>
  </message>
  <message>
   <source>a classification runs</source>
   <translation>eine Klassifikation läuft</translation>
  </message>
  <message>
   <source>an explanation runs</source>
   <translation>eine Erklärung läuft</translation>
  </message>
  <message>
   <source>a ranking of cases runs</source>
   <translation>eine Reihenfolge von Fällen wird bestimmt</translation>
  </message>
  <message>
   <source>a segmentation runs</source>
   <translation>eine Segmentierung läuft</translation>
  </message>
  <message>
   <source>a segmentation by strokes runs</source>
   <translation>eine Segmentierung nach Strichen läuft</translation>
  </message>
  <message>
   <source>another computation runs</source>
   <translation>eine andere Berechnung läuft</translation>
  </message>
  <message>
   <source>Wait for it, or cancel it</source>
   <translation>Darauf warten oder sie abbrechen</translation>
  </message>
  <message>
   <source>Update LLMBoost for the worker</source>
   <translation>LLMBoost für den Worker aktualisieren</translation>
  </message>
  <message>
   <source>Update the extension in Slicer</source>
   <translation>Die Erweiterung in Slicer aktualisieren</translation>
  </message>
  <message>
   <source>cancelled</source>
   <translation>abgebrochen</translation>
  </message>
  <message>
   <source>no news from the worker for {seconds} s</source>
   <translation>seit {seconds} s nichts vom Worker</translation>
  </message>
  <message>
   <source>the worker starts ({seconds} s)</source>
   <translation>der Worker startet ({seconds} s)</translation>
  </message>
  <message>
   <source>the worker stopped in the middle of an answer: nothing came for {seconds:.0f} s</source>
   <translation>der Worker hielt mitten in einer Antwort an: {seconds:.0f} s lang kam nichts</translation>
  </message>
  <message>
   <source>the worker sent rubbish ({error})</source>
   <translation>der Worker sandte Unsinn ({error})</translation>
  </message>
  <message>
   <source>the worker on {host} is LLMBoost {version} (protocol {protocol}), this Slicer has LLMBoost {ownVersion} (protocol {ownProtocol})</source>
   <translation>der Worker auf {host} ist LLMBoost {version} (Protokoll {protocol}), dieser Slicer hat LLMBoost {ownVersion} (Protokoll {ownProtocol})</translation>
  </message>
  <message>
   <source>the worker could not be started ({reason})</source>
   <translation>der Worker konnte nicht gestartet werden ({reason})</translation>
  </message>
  <message>
   <source>the worker did not start within {seconds:.0f} s</source>
   <translation>der Worker startete nicht innerhalb von {seconds:.0f} s</translation>
  </message>
  <message>
   <source>the worker ended unexpectedly ({reason})</source>
   <translation>der Worker endete unerwartet ({reason})</translation>
  </message>
 </context>
 <context>
  <name>LLMBoostSegment</name>
  <message>
   <source>LLMBoost Segment</source>
   <translation>LLMBoost Segment</translation>
  </message>
  <message>
   <source>Segments or classifies an image with a network that carries a frozen block of a language model inside, and shows where the network looked. All is computed on this machine, in a process of its own. For research only, not for clinical use. See &lt;a href="{url}"&gt;{url}&lt;/a&gt;.</source>
   <translation>Segmentiert oder klassifiziert ein Bild mit einem Netz, das einen eingefrorenen Block eines Sprachmodells in sich trägt, und zeigt, wohin das Netz geschaut hat. Alles wird auf diesem Rechner gerechnet, in einem eigenen Prozess. Nur für die Forschung, nicht für den klinischen Gebrauch. Siehe &lt;a href="{url}"&gt;{url}&lt;/a&gt;.</translation>
  </message>
  <message>
   <source>The networks are trained on public data sets, named in each model's card. Models and programs are free software; their licenses are listed at {url}.</source>
   <translation>Die Netze sind auf öffentlichen Datensätzen trainiert, die in der Karte jedes Modells genannt sind. Modelle und Programme sind freie Software; ihre Lizenzen stehen unter {url}.</translation>
  </message>
  <message>
   <source>For research only. Not for clinical use.</source>
   <translation>Nur für die Forschung. Nicht für den klinischen Gebrauch.</translation>
  </message>
  <message>
   <source>Welcome. Begin with a sample, with an image of yours, or with a model of yours:</source>
   <translation>Willkommen. Mit einem Beispiel beginnen, mit einem eigenen Bild oder mit einem eigenen Modell:</translation>
  </message>
  <message>
   <source>Sample head</source>
   <translation>Beispielkopf</translation>
  </message>
  <message>
   <source>Downloads Slicer's sample MRHead, an MR image of a head (4 MB), once, and shows it.</source>
   <translation>Lädt Slicers Beispiel MRHead, ein MR-Bild eines Kopfes (4 MB), einmal herunter und zeigt es.</translation>
  </message>
  <message>
   <source>Phantom</source>
   <translation>Phantom</translation>
  </message>
  <message>
   <source>Adds a drawn image, of no person, in which the hippocampus model finds something. It needs no network.</source>
   <translation>Fügt ein gezeichnetes Bild hinzu, von keiner Person, in dem das Hippocampus-Modell etwas findet. Es braucht kein Netzwerk.</translation>
  </message>
  <message>
   <source>My image...</source>
   <translation>Mein Bild ...</translation>
  </message>
  <message>
   <source>Opens Slicer's dialog for files and folders. Images can also be dropped into the window; DICOM comes by the module DICOM.</source>
   <translation>Öffnet Slicers Dialog für Dateien und Ordner. Bilder lassen sich auch ins Fenster ziehen; DICOM kommt über das Modul DICOM.</translation>
  </message>
  <message>
   <source>My model...</source>
   <translation>Mein Modell ...</translation>
  </message>
  <message>
   <source>Add a model to your models: a LLMBoost file, or one that nnU-Net, TotalSegmentator or MONAI trained, as a folder or a zip archive.</source>
   <translation>Ein Modell zu Ihren Modellen hinzufügen: eine LLMBoost-Datei, oder eines, das nnU-Net, TotalSegmentator oder MONAI trainiert hat, als Ordner oder Zip-Archiv.</translation>
  </message>
  <message>
   <source>Image, model and output</source>
   <translation>Bild, Modell und Ausgabe</translation>
  </message>
  <message>
   <source>&amp;Image:</source>
   <translation>&amp;Bild:</translation>
  </message>
  <message>
   <source>The image to segment or classify. Load one first: drop a file into Slicer, or take one from module Sample Data.</source>
   <translation>Das Bild, das segmentiert oder klassifiziert wird. Zuerst eines laden: eine Datei in Slicer ziehen, oder eines aus dem Modul Sample Data nehmen.</translation>
  </message>
  <message>
   <source>Choose an image</source>
   <translation>Ein Bild auswählen</translation>
  </message>
  <message>
   <source>Image 2:</source>
   <translation>Bild 2:</translation>
  </message>
  <message>
   <source>Another image of the same place, in the order that the model's description tells.</source>
   <translation>Ein weiteres Bild derselben Stelle, in der Reihenfolge, die die Beschreibung des Modells nennt.</translation>
  </message>
  <message>
   <source>Image 3:</source>
   <translation>Bild 3:</translation>
  </message>
  <message>
   <source>Image 4:</source>
   <translation>Bild 4:</translation>
  </message>
  <message>
   <source>Se&amp;gmentation:</source>
   <translation>Se&amp;gmentierung:</translation>
  </message>
  <message>
   <source>The segmentation, and the segment of it that the model takes as its input.</source>
   <translation>Die Segmentierung und ihr Segment, das das Modell als Eingabe nimmt.</translation>
  </message>
  <message>
   <source>Study:</source>
   <translation>Untersuchung:</translation>
  </message>
  <message>
   <source>&amp;Time points:</source>
   <translation>&amp;Zeitpunkte:</translation>
  </message>
  <message>
   <source>The image is one time point of a sequence. All: each time point is segmented, and the result is a sequence of segmentations that the same sequence browser plays; each stays editable. Uncertainty is computed for single time points only.</source>
   <translation>Das Bild ist ein Zeitpunkt einer Sequenz. Alle: jeder Zeitpunkt wird segmentiert, und das Ergebnis ist eine Sequenz von Segmentierungen, die derselbe Sequence Browser abspielt; jede bleibt bearbeitbar. Unsicherheit wird nur für einzelne Zeitpunkte berechnet.</translation>
  </message>
  <message>
   <source>Slic&amp;es:</source>
   <translation>Schic&amp;hten:</translation>
  </message>
  <message>
   <source>The model looks at single slices. All: each slice of the image is classified, and the result lists them. A view: the slice that it shows when you click.</source>
   <translation>Das Modell sieht einzelne Schichten. Alle: jede Schicht des Bildes wird klassifiziert, und das Ergebnis führt sie auf. Eine Ansicht: die Schicht, die sie beim Klick zeigt.</translation>
  </message>
  <message>
   <source>&amp;ROI:</source>
   <translation>&amp;ROI:</translation>
  </message>
  <message>
   <source>A box that limits where the model computes: faster, and right for models that were trained on crops. A new one is placed in the middle of the image; drag its handles in the views.</source>
   <translation>Ein Kasten, der begrenzt, wo das Modell rechnet: schneller, und richtig für Modelle, die auf Ausschnitten trainiert wurden. Ein neuer liegt in der Mitte des Bildes; seine Griffe lassen sich in den Ansichten ziehen.</translation>
  </message>
  <message>
   <source>Whole image</source>
   <translation>Ganzes Bild</translation>
  </message>
  <message>
   <source>&amp;Search:</source>
   <translation>&amp;Suche:</translation>
  </message>
  <message>
   <source>Narrows the list: words from a model's name, description, modality, license or segments, by any of an organ's names.</source>
   <translation>Verkürzt die Liste: Wörter aus Name, Beschreibung, Modalität, Lizenz oder Segmenten eines Modells, nach jedem Namen eines Organs.</translation>
  </message>
  <message>
   <source>organ, modality, license ...</source>
   <translation>Organ, Modalität, Lizenz ...</translation>
  </message>
  <message>
   <source>I&amp;mport...</source>
   <translation>I&amp;mportieren ...</translation>
  </message>
  <message>
   <source>Delete the chosen model from your models; those that came with LLMBoost stay.</source>
   <translation>Das ausgewählte Modell aus Ihren Modellen löschen; die mit LLMBoost gekommenen bleiben.</translation>
  </message>
  <message>
   <source>Remove</source>
   <translation>Entfernen</translation>
  </message>
  <message>
   <source>The installed models. Import adds others.</source>
   <translation>Die installierten Modelle. Importieren fügt weitere hinzu.</translation>
  </message>
  <message>
   <source>About this model</source>
   <translation>Über dieses Modell</translation>
  </message>
  <message>
   <source>Segme&amp;ntation:</source>
   <translation>Segme&amp;ntierung:</translation>
  </message>
  <message>
   <source>Where the segments go. In an existing segmentation, segments of the same names are replaced and all others stay; Undo brings back what was there.</source>
   <translation>Wohin die Segmente kommen. In einer vorhandenen Segmentierung werden Segmente gleicher Namen ersetzt, alle anderen bleiben; Rückgängig bringt zurück, was dort war.</translation>
  </message>
  <message>
   <source>Create new segmentation</source>
   <translation>Neue Segmentierung anlegen</translation>
  </message>
  <message>
   <source>Options</source>
   <translation>Optionen</translation>
  </message>
  <message>
   <source>&amp;Device:</source>
   <translation>&amp;Gerät:</translation>
  </message>
  <message>
   <source>What computes. Automatic takes a GPU if there is one that works.</source>
   <translation>Was rechnet. Automatisch nimmt eine Grafikkarte, wenn es eine gibt, die funktioniert.</translation>
  </message>
  <message>
   <source>Fast</source>
   <translation>Schnell</translation>
  </message>
  <message>
   <source>A larger step from patch to patch (0.8 in place of 0.5): sooner, less sure where patches meet.</source>
   <translation>Ein größerer Schritt von Patch zu Patch (0,8 statt 0,5): früher fertig, weniger sicher, wo Patches aneinanderstoßen.</translation>
  </message>
  <message>
   <source>Map of &amp;uncertainty</source>
   <translation>Karte der &amp;Unsicherheit</translation>
  </message>
  <message>
   <source>Also make a volume of the entropy: bright where the model is unsure and a look at the segments pays off.</source>
   <translation>Auch ein Volumen der Entropie berechnen: hell, wo das Modell unsicher ist und sich ein Blick auf die Segmente lohnt.</translation>
  </message>
  <message>
   <source>Map of e&amp;xplanation</source>
   <translation>Karte der E&amp;rklärung</translation>
  </message>
  <message>
   <source>Also make a volume that tells where in the image the model looked. More of them, for other classes or segments, are made under Result.</source>
   <translation>Auch ein Volumen berechnen, das zeigt, wohin im Bild das Modell geschaut hat. Weitere, für andere Klassen oder Segmente, gibt es unter Ergebnis.</translation>
  </message>
  <message>
   <source>&amp;Apply</source>
   <translation>&amp;Anwenden</translation>
  </message>
  <message>
   <source>Undo</source>
   <translation>Rückgängig</translation>
  </message>
  <message>
   <source>Take this result back: new segments, tables and explanations are removed, replaced segments come back as they were.</source>
   <translation>Dieses Ergebnis zurücknehmen: neue Segmente, Tabellen und Erklärungen werden entfernt, ersetzte Segmente kommen wieder, wie sie waren.</translation>
  </message>
  <message>
   <source>Result</source>
   <translation>Ergebnis</translation>
  </message>
  <message>
   <source>Show its answer anyway</source>
   <translation>Seine Antwort trotzdem zeigen</translation>
  </message>
  <message>
   <source>Classify the image although it is of another kind than those that the model learned from: the answer means little.</source>
   <translation>Das Bild klassifizieren, obwohl es von anderer Art ist als die, aus denen das Modell gelernt hat: die Antwort bedeutet wenig.</translation>
  </message>
  <message>
   <source>C&amp;orrect</source>
   <translation>K&amp;orrigieren</translation>
  </message>
  <message>
   <source>Correct the segments here, with the tools of the Segment Editor.</source>
   <translation>Die Segmente hier korrigieren, mit den Werkzeugen des Segment Editors.</translation>
  </message>
  <message>
   <source>&amp;Learn from this</source>
   <translation>Daraus &amp;lernen</translation>
  </message>
  <message>
   <source>Add the image and its segments to the cases, and let the model learn from all cases in the background.</source>
   <translation>Das Bild und seine Segmente zu den Fällen hinzufügen und das Modell im Hintergrund aus allen Fällen lernen lassen.</translation>
  </message>
  <message>
   <source>Ne&amp;xt case</source>
   <translation>&amp;Nächster Fall</translation>
  </message>
  <message>
   <source>Segment the next image: of the scene, or of the folder that this one was loaded from. It takes the model as it has learned until now.</source>
   <translation>Das nächste Bild segmentieren: der Szene, oder des Ordners, aus dem dieses geladen wurde. Es nimmt das Modell, wie es bis jetzt gelernt hat.</translation>
  </message>
  <message>
   <source>Add t&amp;his case</source>
   <translation>&amp;Fall hinzufügen</translation>
  </message>
  <message>
   <source>Copy the image and its segments, once you have corrected them, to the cases that LLMBoost Train learns from. The copies stay on this computer.</source>
   <translation>Das Bild und seine Segmente, sobald sie korrigiert sind, zu den Fällen kopieren, aus denen LLMBoost Train lernt. Die Kopien bleiben auf diesem Rechner.</translation>
  </message>
  <message>
   <source>Report...</source>
   <translation>Bericht ...</translation>
  </message>
  <message>
   <source>Write a page or a PDF file with pictures, volumes and what is known of the model, and open it. Research use only.</source>
   <translation>Eine Seite oder eine PDF-Datei mit Bildern, Volumen und dem, was vom Modell bekannt ist, schreiben und öffnen. Nur für die Forschung.</translation>
  </message>
  <message>
   <source>Store in DICOM</source>
   <translation>In DICOM speichern</translation>
  </message>
  <message>
   <source>Store the segments and their volumes in Slicer's DICOM database, which the image came from: as a segmentation and a structured report of the same study. Research use only.</source>
   <translation>Die Segmente und ihre Volumina in Slicers DICOM-Datenbank speichern, aus der das Bild kam: als Segmentierung und strukturierten Bericht derselben Studie. Nur für die Forschung.</translation>
  </message>
  <message>
   <source>The segments in their colors, with their sizes. A click shows a segment in the slice views. The table is a node of the scene, too.</source>
   <translation>Die Segmente in ihren Farben, mit ihren Größen. Ein Klick zeigt ein Segment in den Schichtansichten. Die Tabelle ist auch ein Knoten der Szene.</translation>
  </message>
  <message>
   <source>The sizes of the segments, or the probabilities slice by slice. The table is a node of the scene, too.</source>
   <translation>Die Größen der Segmente, oder die Wahrscheinlichkeiten Schicht für Schicht. Die Tabelle ist auch ein Knoten der Szene.</translation>
  </message>
  <message>
   <source>Show in &amp;3D</source>
   <translation>In &amp;3D zeigen</translation>
  </message>
  <message>
   <source>Make surfaces of the segments for the 3D view.</source>
   <translation>Oberflächen der Segmente für die 3D-Ansicht berechnen.</translation>
  </message>
  <message>
   <source>Un&amp;certainty</source>
   <translation>&amp;Unsicherheit</translation>
  </message>
  <message>
   <source>Lays the map over the image. Unchecking it brings back what the views showed before.</source>
   <translation>Legt die Karte über das Bild. Ohne Haken zeigen die Ansichten wieder, was sie vorher zeigten.</translation>
  </message>
  <message>
   <source>How strongly the map covers the image.</source>
   <translation>Wie stark die Karte das Bild überdeckt.</translation>
  </message>
  <message>
   <source>Explanation: where the model looked</source>
   <translation>Erklärung: wohin das Modell geschaut hat</translation>
  </message>
  <message>
   <source>&amp;For:</source>
   <translation>&amp;Für:</translation>
  </message>
  <message>
   <source>The class or the segment to explain. A map that was made before is shown at once.</source>
   <translation>Die Klasse oder das Segment, das erklärt wird. Eine früher berechnete Karte wird sofort gezeigt.</translation>
  </message>
  <message>
   <source>Ex&amp;plain</source>
   <translation>Er&amp;klären</translation>
  </message>
  <message>
   <source>Make a map of where in the image the model looked, and lay it over the slices.</source>
   <translation>Eine Karte berechnen, wohin im Bild das Modell geschaut hat, und über die Schichten legen.</translation>
  </message>
  <message>
   <source>Sho&amp;w</source>
   <translation>Zei&amp;gen</translation>
  </message>
  <message>
   <source>Remo&amp;ve maps</source>
   <translation>Karten &amp;entfernen</translation>
  </message>
  <message>
   <source>Remove the maps that explain this result from the scene; the views show again what they showed before.</source>
   <translation>Die Karten, die dieses Ergebnis erklären, aus der Szene entfernen; die Ansichten zeigen wieder, was sie vorher zeigten.</translation>
  </message>
  <message>
   <source>Method and layer</source>
   <translation>Methode und Schicht</translation>
  </message>
  <message>
   <source>&amp;Method:</source>
   <translation>&amp;Methode:</translation>
  </message>
  <message>
   <source>Grad-CAM follows the gradient of the class or segment back to a layer. Attention rollout follows the network's attention, weighted by the same gradient.</source>
   <translation>Grad-CAM folgt dem Gradienten der Klasse oder des Segments zurück zu einer Schicht. Attention Rollout folgt der Aufmerksamkeit des Netzes, gewichtet mit demselben Gradienten.</translation>
  </message>
  <message>
   <source>&amp;Layer:</source>
   <translation>&amp;Schicht:</translation>
  </message>
  <message>
   <source>What the network saw after, or before, the frozen block of the language model.</source>
   <translation>Was das Netz nach oder vor dem eingefrorenen Block des Sprachmodells sah.</translation>
  </message>
  <message>
   <source>Advanced</source>
   <translation>Erweitert</translation>
  </message>
  <message>
   <source>Computation</source>
   <translation>Berechnung</translation>
  </message>
  <message>
   <source>Wor&amp;ker:</source>
   <translation>Wor&amp;ker:</translation>
  </message>
  <message>
   <source>The command that starts the worker, where Slicer's own Python is not to do it: another Python (/opt/venv/bin/python -m llmboost.worker), or another computer (ssh -T HOST python -m llmboost.worker), which images are then sent to. It is a setting of this computer and never part of a scene.</source>
   <translation>Der Befehl, der den Worker startet, wo es nicht Slicers eigenes Python tun soll: ein anderes Python (/opt/venv/bin/python -m llmboost.worker), oder ein anderer Rechner (ssh -T HOST python -m llmboost.worker), an den dann Bilder gesendet werden. Er ist eine Einstellung dieses Rechners und nie Teil einer Szene.</translation>
  </message>
  <message>
   <source>Release memory</source>
   <translation>Speicher freigeben</translation>
  </message>
  <message>
   <source>End the worker and give all of its memory back; the next run starts it again.</source>
   <translation>Den Worker beenden und seinen ganzen Speicher zurückgeben; der nächste Lauf startet ihn wieder.</translation>
  </message>
  <message>
   <source>Co&amp;py diagnostics</source>
   <translation>Diagnose ko&amp;pieren</translation>
  </message>
  <message>
   <source>Copy versions and the worker's last words to the clipboard, for a report; names of nodes and your folder are left out.</source>
   <translation>Versionen und die letzten Worte des Workers für eine Meldung in die Zwischenablage kopieren; Namen von Knoten und Ihr Ordner bleiben weg.</translation>
  </message>
  <message>
   <source>Private environment</source>
   <translation>Eigene Umgebung</translation>
  </message>
  <message>
   <source>P&amp;ython:</source>
   <translation>P&amp;ython:</translation>
  </message>
  <message>
   <source>The Python (3.11 or newer) that the private environment is made with. Empty: the first one of this computer that will do.</source>
   <translation>Das Python (3.11 oder neuer), mit dem die eigene Umgebung angelegt wird. Leer: das erste passende dieses Rechners.</translation>
  </message>
  <message>
   <source>&amp;Wheels folder:</source>
   <translation>Ordner mit &amp;Wheels:</translation>
  </message>
  <message>
   <source>For computers without internet: a folder with the packages (.whl) to install. Empty: they are downloaded from PyPI.</source>
   <translation>Für Rechner ohne Internet: ein Ordner mit den zu installierenden Paketen (.whl). Leer: sie werden von PyPI heruntergeladen.</translation>
  </message>
  <message>
   <source>Create</source>
   <translation>Anlegen</translation>
  </message>
  <message>
   <source>Make the environment and install into it. Slicer's own packages are left alone.</source>
   <translation>Die Umgebung anlegen und in sie installieren. Slicers eigene Pakete bleiben unberührt.</translation>
  </message>
  <message>
   <source>Use</source>
   <translation>Verwendung</translation>
  </message>
  <message>
   <source>Let the worker run in the private environment.</source>
   <translation>Den Worker in der eigenen Umgebung laufen lassen.</translation>
  </message>
  <message>
   <source>Delete the private environment; the worker runs in Slicer's Python again.</source>
   <translation>Die eigene Umgebung löschen; der Worker läuft wieder in Slicers Python.</translation>
  </message>
  <message>
   <source>Log:</source>
   <translation>Protokoll:</translation>
  </message>
  <message>
   <source>What this module did since Slicer was started.</source>
   <translation>Was dieses Modul seit dem Start von Slicer getan hat.</translation>
  </message>
  <message>
   <source>&amp;Back to the result</source>
   <translation>&amp;Zurück zum Ergebnis</translation>
  </message>
  <message>
   <source>End editing; the changes stay.</source>
   <translation>Das Bearbeiten beenden; die Änderungen bleiben.</translation>
  </message>
 </context>
 <context>
  <name>LLMBoostTrain</name>
  <message>
   <source>LLMBoost Train</source>
   <translation>LLMBoost Train</translation>
  </message>
  <message>
   <source>Makes a model of LLMBoost Segment better on a user's own images, in minutes: correct some results, add them as cases, train. The model itself stays as it is; what is learned goes into a small file beside it. All is computed on this machine, and cases do not leave it. For research only, not for clinical use. See &lt;a href="{url}"&gt;{url}&lt;/a&gt;.</source>
   <translation>Macht ein Modell von LLMBoost Segment in Minuten auf eigenen Bildern besser: einige Ergebnisse korrigieren, sie als Fälle hinzufügen, trainieren. Das Modell selbst bleibt, wie es ist; was gelernt wird, kommt in eine kleine Datei daneben. Alles wird auf diesem Rechner gerechnet, und Fälle verlassen ihn nicht. Nur für die Forschung, nicht für den klinischen Gebrauch. Siehe &lt;a href="{url}"&gt;{url}&lt;/a&gt;.</translation>
  </message>
  <message>
   <source>Training builds on MONAI, PyTorch and PEFT; their licenses are listed at {url}.</source>
   <translation>Das Training baut auf MONAI, PyTorch und PEFT; ihre Lizenzen stehen unter {url}.</translation>
  </message>
  <message>
   <source>For research only. Not for clinical use. Cases stay on this computer.</source>
   <translation>Nur für die Forschung. Nicht für den klinischen Gebrauch. Fälle bleiben auf diesem Rechner.</translation>
  </message>
  <message>
   <source>Cases and model</source>
   <translation>Fälle und Modell</translation>
  </message>
  <message>
   <source>&amp;Image:</source>
   <translation>&amp;Bild:</translation>
  </message>
  <message>
   <source>The image of the case to add.</source>
   <translation>Das Bild des Falls, der hinzugefügt wird.</translation>
  </message>
  <message>
   <source>Choose an image</source>
   <translation>Ein Bild auswählen</translation>
  </message>
  <message>
   <source>&amp;Segmentation:</source>
   <translation>&amp;Segmentierung:</translation>
  </message>
  <message>
   <source>What was drawn on it. Without one, the case waits to be labeled.</source>
   <translation>Was darauf gezeichnet wurde. Ohne wartet der Fall auf Labels.</translation>
  </message>
  <message>
   <source>None: an unlabeled case</source>
   <translation>Keine: ein ungelabelter Fall</translation>
  </message>
  <message>
   <source>&amp;Add</source>
   <translation>&amp;Hinzufügen</translation>
  </message>
  <message>
   <source>Keep a copy of the image and its segments as a case. Later edits do not change the copy.</source>
   <translation>Eine Kopie des Bildes und seiner Segmente als Fall aufbewahren. Spätere Änderungen lassen die Kopie, wie sie ist.</translation>
  </message>
  <message>
   <source>Add all of the scene</source>
   <translation>Alle der Szene hinzufügen</translation>
  </message>
  <message>
   <source>Each segmentation in the scene becomes a case, with the image that it was drawn on.</source>
   <translation>Jede Segmentierung der Szene wird ein Fall, mit dem Bild, auf dem sie gezeichnet wurde.</translation>
  </message>
  <message>
   <source>Import folder…</source>
   <translation>Ordner importieren …</translation>
  </message>
  <message>
   <source>Copy the cases of a folder with dataset.json, imagesTr and labelsTr (Medical Segmentation Decathlon, nnU-Net).</source>
   <translation>Die Fälle eines Ordners mit dataset.json, imagesTr und labelsTr kopieren (Medical Segmentation Decathlon, nnU-Net).</translation>
  </message>
  <message>
   <source>The cases: copies in the folder below. Choose for each what it is used for.</source>
   <translation>Die Fälle: Kopien im Ordner darunter. Für jeden auswählen, wozu er verwendet wird.</translation>
  </message>
  <message>
   <source>&amp;Edit</source>
   <translation>&amp;Bearbeiten</translation>
  </message>
  <message>
   <source>Correct the segments of the chosen case here.</source>
   <translation>Die Segmente des ausgewählten Falls hier korrigieren.</translation>
  </message>
  <message>
   <source>Update case</source>
   <translation>Fall aktualisieren</translation>
  </message>
  <message>
   <source>The segmentation in the scene was edited since: copy it into the case.</source>
   <translation>Die Segmentierung in der Szene wurde seitdem bearbeitet: sie in den Fall kopieren.</translation>
  </message>
  <message>
   <source>Remove</source>
   <translation>Entfernen</translation>
  </message>
  <message>
   <source>Delete the copies of the chosen cases. Nodes in the scene stay.</source>
   <translation>Die Kopien der ausgewählten Fälle löschen. Knoten in der Szene bleiben.</translation>
  </message>
  <message>
   <source>&amp;Base model:</source>
   <translation>&amp;Basismodell:</translation>
  </message>
  <message>
   <source>The model to make better. It stays as it is: what is learned goes into a small file beside it.</source>
   <translation>Das Modell, das besser werden soll. Es bleibt, wie es ist: was gelernt wird, kommt in eine kleine Datei daneben.</translation>
  </message>
  <message>
   <source>&amp;Learn:</source>
   <translation>&amp;Lernen:</translation>
  </message>
  <message>
   <source>Draw the same labels better on images like these, or learn labels that the base does not know.</source>
   <translation>Dieselben Labels auf Bildern wie diesen besser zeichnen, oder Labels lernen, die die Basis nicht kennt.</translation>
  </message>
  <message>
   <source>&amp;Minutes:</source>
   <translation>&amp;Minuten:</translation>
  </message>
  <message>
   <source>How long to train. Two minutes are a good start; more cases deserve more.</source>
   <translation>Wie lange trainiert wird. Zwei Minuten sind ein guter Anfang; mehr Fälle verdienen mehr.</translation>
  </message>
  <message>
   <source>Labels</source>
   <translation>Labels</translation>
  </message>
  <message>
   <source>What each kind of segment in the cases is for the model: found by name or SNOMED code, or chosen here.</source>
   <translation>Was jede Art von Segment in den Fällen für das Modell ist: durch Namen oder SNOMED-Code gefunden, oder hier ausgewählt.</translation>
  </message>
  <message>
   <source>Options</source>
   <translation>Optionen</translation>
  </message>
  <message>
   <source>&amp;Device:</source>
   <translation>&amp;Gerät:</translation>
  </message>
  <message>
   <source>What computes.</source>
   <translation>Was rechnet.</translation>
  </message>
  <message>
   <source>&amp;Name:</source>
   <translation>&amp;Name:</translation>
  </message>
  <message>
   <source>What the new model will be called.</source>
   <translation>Wie das neue Modell heißt.</translation>
  </message>
  <message>
   <source>Folder:</source>
   <translation>Ordner:</translation>
  </message>
  <message>
   <source>Where the copies lie, on this computer. Names of patients and of nodes are not kept.</source>
   <translation>Wo die Kopien liegen, auf diesem Rechner. Namen von Patienten und Knoten werden nicht aufbewahrt.</translation>
  </message>
  <message>
   <source>Show</source>
   <translation>Zeigen</translation>
  </message>
  <message>
   <source>Open the folder in the file browser.</source>
   <translation>Den Ordner im Dateimanager öffnen.</translation>
  </message>
  <message>
   <source>Remove all</source>
   <translation>Alle entfernen</translation>
  </message>
  <message>
   <source>Delete all copies in the folder. Nodes in the scene and models stay.</source>
   <translation>Alle Kopien im Ordner löschen. Knoten in der Szene und Modelle bleiben.</translation>
  </message>
  <message>
   <source>&amp;Start</source>
   <translation>&amp;Starten</translation>
  </message>
  <message>
   <source>Train with these cases</source>
   <translation>Mit diesen Fällen trainieren</translation>
  </message>
  <message>
   <source>Stop and &amp;keep the best</source>
   <translation>Anhalten und das Beste &amp;behalten</translation>
  </message>
  <message>
   <source>End the training now, and keep the best that it has found so far.</source>
   <translation>Das Training jetzt beenden und das Beste behalten, das es bis jetzt gefunden hat.</translation>
  </message>
  <message>
   <source>Result</source>
   <translation>Ergebnis</translation>
  </message>
  <message>
   <source>&amp;Accept</source>
   <translation>&amp;Annehmen</translation>
  </message>
  <message>
   <source>Keep the trained model: it is in LLMBoost Segment's list at once.</source>
   <translation>Das trainierte Modell behalten: es steht sofort in der Liste von LLMBoost Segment.</translation>
  </message>
  <message>
   <source>Discard</source>
   <translation>Verwerfen</translation>
  </message>
  <message>
   <source>Delete the trained model.</source>
   <translation>Das trainierte Modell löschen.</translation>
  </message>
  <message>
   <source>Show before and after</source>
   <translation>Vorher und nachher zeigen</translation>
  </message>
  <message>
   <source>Segment the chosen case by the base (outlines) and by the trained model (filled), in the views.</source>
   <translation>Den ausgewählten Fall durch die Basis (Umrisse) und das trainierte Modell (gefüllt) segmentieren, in den Ansichten.</translation>
  </message>
  <message>
   <source>Dice of each case that was kept for checking, before the training and after it; once every case was checked, of each by a network that had not seen it.</source>
   <translation>Dice jedes Falls, der zum Prüfen beiseitegelegt war, vor dem Training und danach; wurde jeder Fall geprüft, von jedem durch ein Netz, das ihn nicht gesehen hatte.</translation>
  </message>
  <message>
   <source>&amp;Go on</source>
   <translation>&amp;Weiter</translation>
  </message>
  <message>
   <source>Train on from here, for so many minutes more; the new result takes this one's place.</source>
   <translation>Von hier aus weitertrainieren, noch so viele Minuten; das neue Ergebnis tritt an die Stelle von diesem.</translation>
  </message>
  <message>
   <source>How many minutes more.</source>
   <translation>Wie viele Minuten noch.</translation>
  </message>
  <message>
   <source> minutes more</source>
   <translation> weitere Minuten</translation>
  </message>
  <message>
   <source>C&amp;heck on every case</source>
   <translation>Auf jedem Fall p&amp;rüfen</translation>
  </message>
  <message>
   <source>Curves</source>
   <translation>Kurven</translation>
  </message>
  <message>
   <source>Label next</source>
   <translation>Als Nächstes labeln</translation>
  </message>
  <message>
   <source>Unlabeled cases, those first that the model would learn most from.</source>
   <translation>Ungelabelte Fälle, zuerst die, aus denen das Modell am meisten lernen würde.</translation>
  </message>
  <message>
   <source>&amp;Rank</source>
   <translation>&amp;Reihenfolge</translation>
  </message>
  <message>
   <source>Let the model look at the unlabeled cases: where it is unsure, and what is unlike the others, comes first.</source>
   <translation>Das Modell die ungelabelten Fälle ansehen lassen: wo es unsicher ist und was den anderen unähnlich ist, kommt zuerst.</translation>
  </message>
  <message>
   <source>La&amp;bel</source>
   <translation>La&amp;beln</translation>
  </message>
  <message>
   <source>Let the model segment the chosen case, then correct it here; saved, it is a case to train with.</source>
   <translation>Das Modell den ausgewählten Fall segmentieren lassen, dann hier korrigieren; gespeichert ist er ein Fall zum Trainieren.</translation>
  </message>
  <message>
   <source>Your models</source>
   <translation>Eigene Modelle</translation>
  </message>
  <message>
   <source>The models that were trained on this computer, with what they were made of and how they did.</source>
   <translation>Die Modelle, die auf diesem Rechner trainiert wurden, woraus sie gemacht wurden und wie gut sie waren.</translation>
  </message>
  <message>
   <source>Use</source>
   <translation>Verwendung</translation>
  </message>
  <message>
   <source>Open LLMBoost Segment with this model.</source>
   <translation>LLMBoost Segment mit diesem Modell öffnen.</translation>
  </message>
  <message>
   <source>Compare</source>
   <translation>Vergleichen</translation>
  </message>
  <message>
   <source>Segment the image chosen above by this model (filled) and by its base (outlines).</source>
   <translation>Das oben ausgewählte Bild durch dieses Modell (gefüllt) und seine Basis (Umrisse) segmentieren.</translation>
  </message>
  <message>
   <source>Export…</source>
   <translation>Exportieren …</translation>
  </message>
  <message>
   <source>Copy the model's file, to hand it on. It holds no images.</source>
   <translation>Die Datei des Modells kopieren, um sie weiterzugeben. Sie enthält keine Bilder.</translation>
  </message>
  <message>
   <source>Import…</source>
   <translation>Importieren …</translation>
  </message>
  <message>
   <source>Add a model's file from elsewhere; its base must be here.</source>
   <translation>Die Datei eines Modells von anderswo hinzufügen; seine Basis muss hier sein.</translation>
  </message>
  <message>
   <source>Delete the model from this computer.</source>
   <translation>Das Modell von diesem Rechner löschen.</translation>
  </message>
  <message>
   <source>&amp;Save to the case</source>
   <translation>In den Fall &amp;speichern</translation>
  </message>
  <message>
   <source>Copy the segments into the case, and go back.</source>
   <translation>Die Segmente in den Fall kopieren und zurückgehen.</translation>
  </message>
  <message>
   <source>Back without saving</source>
   <translation>Zurück ohne Speichern</translation>
  </message>
  <message>
   <source>Go back; the case keeps the segments that it had.</source>
   <translation>Zurückgehen; der Fall behält die Segmente, die er hatte.</translation>
  </message>
 </context>
 <context>
  <name>card.told</name>
  <message>
   <source>{count}: {names} and {more} more</source>
   <translation>{count}: {names} und {more} weitere</translation>
  </message>
  <message>
   <source>SNOMED CT, guessed from the names of {guessed} of {count} segments</source>
   <translation>SNOMED CT, aus den Namen von {guessed} von {count} Segmenten erraten</translation>
  </message>
  <message>
   <source>Input</source>
   <translation>Eingabe</translation>
  </message>
  <message>
   <source>Codes</source>
   <translation>Codes</translation>
  </message>
  <message>
   <source>Works at</source>
   <translation>Arbeitet mit</translation>
  </message>
  <message>
   <source>Expected time</source>
   <translation>Erwartete Zeit</translation>
  </message>
  <message>
   <source>Memory</source>
   <translation>Arbeitsspeicher</translation>
  </message>
  <message>
   <source>Accuracy</source>
   <translation>Genauigkeit</translation>
  </message>
  <message>
   <source>Doubts</source>
   <translation>Zweifel</translation>
  </message>
  <message>
   <source>Base</source>
   <translation>Basis</translation>
  </message>
  <message>
   <source>Origin</source>
   <translation>Herkunft</translation>
  </message>
  <message>
   <source>License</source>
   <translation>Lizenz</translation>
  </message>
  <message>
   <source>Citation</source>
   <translation>Zitat</translation>
  </message>
  <message>
   <source>a segment</source>
   <translation>ein Segment</translation>
  </message>
  <message>
   <source>Classes</source>
   <translation>Klassen</translation>
  </message>
  <message>
   <source>Segments</source>
   <translation>Segmente</translation>
  </message>
  <message>
   <source>{spacing} mm, patches of {patch} voxels</source>
   <translation>{spacing} mm, Patches von {patch} Voxeln</translation>
  </message>
  <message>
   <source>{modality}, a {subject} or a crop of it</source>
   <translation>{modality}, {subject} im Ganzen oder ein Ausschnitt davon</translation>
  </message>
  <message>
   <source>{modality}, slice by slice</source>
   <translation>{modality}, Schicht für Schicht</translation>
  </message>
  <message>
   <source>{modality}, a color image</source>
   <translation>{modality}, ein Farbbild</translation>
  </message>
  <message>
   <source>{modality}, {count} images of the same place</source>
   <translation>{modality}, {count} Bilder derselben Stelle</translation>
  </message>
  <message>
   <source>{name} (positive)</source>
   <translation>{name} (positiv)</translation>
  </message>
 </context>
</TS>
