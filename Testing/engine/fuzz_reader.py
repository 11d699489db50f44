"""A process that reads damaged files for test_fuzz.py: whatever happens to it, the tests go on.

It takes a line ``reader: path`` on standard input and answers with one: ``read``, ``refused``, or what else happened.
"""

import codecs
import itertools
import resource
import sys
from pathlib import Path

MEMORY = 6 * 2**30  # of address space, of which torch alone takes more than two
FORBIDDEN = ("exec", "compile", "import", "pickle.find_class", "marshal.", "os.", "subprocess.", "socket.", "ctypes.")
HARMLESS = ("os.listdir", "os.scandir")
WRITERS = ("store",)  # is made private when it is opened

forbidden: list[str] = []


def watch(reader: str, event: str, arguments: tuple) -> None:
    if reader in WRITERS and event.startswith("os."):
        return
    if event.startswith(FORBIDDEN) and event not in HARMLESS:
        forbidden.append(f"{event} {arguments}"[:200])


def main() -> None:
    import PIL.Image

    from llmboost.card import read_card
    from llmboost.errors import LLMBoostError
    from llmboost.files import visible
    from llmboost.io.image import read_image, read_volumes
    from llmboost.io.segnrrd import read_segmentation

    def load(path: Path) -> None:
        from llmboost.model import load_model

        load_model(path)

    def color(path: Path) -> None:
        read_volumes(path, color=True)

    def store(path: Path) -> None:
        from LLMBoostLib.training.casestore import CaseStore

        CaseStore(path.parent)

    def frame(path: Path) -> None:
        from llmboost.wire import ProtocolError, read_message

        try:
            with path.open("rb") as stream:
                while read_message(stream) is not None:
                    pass
        except ProtocolError as error:
            raise LLMBoostError(str(error)) from error

    readers = {
        "image": read_image,
        "volumes": read_volumes,
        "color": color,
        "segmentation": read_segmentation,
        "card": read_card,
        "model": load,
        "store": store,
        "frame": frame,
    }
    PIL.Image.init()  # all of its formats, which it imports at the first file that it does not know
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for name, order in itertools.product(("utf-16", "utf-32"), ("", "-le", "-be")):  # imported at their first use
        codecs.lookup(name + order)
    warm: set[str] = set()
    reader = ""
    sys.addaudithook(lambda event, arguments: watch(reader, event, arguments) if watching else None)
    watching = False
    for line in sys.stdin:
        reader, path = line.rstrip("\n").split(": ", 1)
        # what is imported on first use is no work of the file's
        watching = reader in warm
        try:
            readers[reader](Path(path))
            answer = "read"
        except LLMBoostError as error:
            answer = "refused" if visible(str(error)) == str(error) else f"said what is no line: {error}"
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        watching = False
        warm.add(reader)
        if forbidden:
            answer = f"forbidden: {forbidden}"
            forbidden.clear()
        print(ascii(answer)[1:-1], flush=True)


main()
