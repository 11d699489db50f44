"""What a user of the installed extension gets, in the stand-in for Slicer with its GUI: facts, as a line of JSON.

The only argument is the folder that holds the modules.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

from Testing.gui import qthost
from Testing.host import emptySession

CHANGES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "os.mkdir", "os.remove")


def main(folder: Path) -> None:
    with emptySession() as session, tempfile.TemporaryDirectory() as settings:
        host = qthost.install()
        host.start(session, Path(settings))
        sys.path.insert(0, str(folder))
        facts = importAll(folder)
        facts["widgets"] = {}
        for path in sorted(folder.glob("*.py")):
            widget = host.openModule(path)
            facts["widgets"][path.stem] = sorted(name for name in vars(widget.ui) if not name.startswith("_"))
            with host.withoutMainWindow():
                getattr(sys.modules[path.stem], f"{path.stem}Test")().runTest()
        host.stop()
        host.check()
    print(json.dumps(facts))


def importAll(folder: Path) -> dict[str, object]:
    """Import all that Slicer's process may import, and tell what that did."""
    modules, libraries = sorted(folder.glob("*.py")), sorted((folder / "LLMBoostLib").rglob("*.py"))
    names = [".".join(path.relative_to(folder).with_suffix("").parts) for path in (*modules, *libraries)]
    changes: list[str] = []
    listening = True

    def hear(event: str, arguments: tuple) -> None:
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if listening and (writes or event in CHANGES):
            changes.append(f"{event} {arguments}")

    sys.dont_write_bytecode = True
    sys.addaudithook(hear)
    for name in names:
        importlib.import_module(name)
    listening = False
    from llmboost import library

    return {
        "changes": changes,
        "packages": sorted({name.partition(".")[0] for name in sys.modules}),
        "files": [sys.modules[name].__file__ for name in (*names, "llmboost", "llmboost.library")],
        "models": {name: str(path) for name, path in library.installed().items()},
    }


main(Path(sys.argv[1]))
