"""A process that reads damaged files for test_fuzz.py: whatever happens to it, the tests go on.

It takes a line ``reader path`` on standard input and answers with one: ``read``, ``refused``, or what else happened.
"""

import resource
import sys
from pathlib import Path

MEMORY = 6 * 2**30  # of address space, of which torch alone takes more than two
FORBIDDEN = ("exec", "compile", "import", "pickle.find_class", "marshal.", "os.", "subprocess.", "socket.", "ctypes.")
HARMLESS = ("os.listdir", "os.scandir")

forbidden: list[str] = []


def watch(event: str, arguments: tuple) -> None:
    if event.startswith(FORBIDDEN) and event not in HARMLESS:
        forbidden.append(f"{event} {arguments}"[:200])


def main() -> None:
    import PIL.Image

    from llmboost.card import read_card
    from llmboost.errors import LLMBoostError
    from llmboost.image import read_image, read_volumes
    from llmboost.segnrrd import read_segmentation

    def load(path: Path) -> None:
        from llmboost.model import load_model

        load_model(path)

    def color(path: Path) -> None:
        read_volumes(path, color=True)

    readers = {
        "image": read_image,
        "volumes": read_volumes,
        "color": color,
        "segmentation": read_segmentation,
        "card": read_card,
        "model": load,
    }
    PIL.Image.init()  # all of its formats, which it imports at the first file that it does not know
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warm: set[str] = set()
    sys.addaudithook(lambda event, arguments: watch(event, arguments) if watching else None)
    watching = False
    for line in sys.stdin:
        reader, path = line.rstrip("\n").split(" ", 1)
        # what is imported on first use is no work of the file's
        watching = reader in warm
        try:
            readers[reader](Path(path))
            answer = "read"
        except LLMBoostError as error:
            answer = "refused" if str(error).isprintable() else f"said what is no line: {error}"
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        watching = False
        warm.add(reader)
        if forbidden:
            answer = f"forbidden: {forbidden}"
            forbidden.clear()
        print(ascii(answer)[1:-1], flush=True)


main()
