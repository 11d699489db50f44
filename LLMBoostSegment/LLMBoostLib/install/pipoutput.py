"""What pip prints, put into words that help."""

from __future__ import annotations

import re

from slicer.i18n import tr as _

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")  # pip's --progress-bar=raw
_STEP = 10  # percent between two lines about a download


def _causes() -> tuple[tuple[str, str], ...]:
    """Patterns with what they tell; the first that matches counts. Before the network's faults come those that end an
    installation whatever was retried."""
    return (
        (
            r"No space left|Errno 28\b|not enough space on the disk|WinError 112|Errno 122\b|quota exceeded|Errno 27\b",
            _("the disk is full, or a quota is reached; free some space, also for temporary files, and try again"),
        ),
        (
            r"WinError (5|32)\b|being used by another process",
            _(
                "a file is in use or protected; close other programs, restart Slicer and install before anything"
                " else is done"
            ),
        ),
        (
            r"Errno (13|1|30)\b|Permission denied|Read-only file system",
            _("the folder of Python's packages cannot be written; ask for the permission, or choose another folder"),
        ),
        (
            r"ResolutionImpossible|conflicting dependencies",
            _("it does not fit the packages that are there{conflict}; nothing was changed"),
        ),
        (
            r"is invalid\.|BadZipFile|DO NOT MATCH THE HASHES|File is not a zip file",
            _("a package file is damaged; download or copy it again"),
        ),
        (r"No module named pip\b", _("this Python has no pip; choose another Python")),
        (
            r"from versions: (?!none)",
            _("no version of {package} fits this Python and this computer; a newer or another Python may help"),
        ),
        (
            r"Proxy Authentication Required|ProxyError|Cannot connect to proxy|Tunnel connection failed",
            _(
                "the proxy server refuses; put its address, with name and password where it asks for them, into the"
                " environment variable HTTPS_PROXY (http://name:password@host:port), restart Slicer and try again"
            ),
        ),
        (
            r"CERTIFICATE_VERIFY_FAILED|SSLError|ssl certificate",
            _(
                "the secure connection is not trusted, as behind some proxy servers; put the path of your institution's"
                " certificate file into the environment variable PIP_CERT, restart Slicer and try again"
            ),
        ),
        (
            r"Failed to establish a new connection|NameResolutionError|Name or service not known|getaddrinfo failed"
            r"|Temporary failure in name resolution|ConnectTimeout|Read ?[Tt]ime"
            r"|Connection (reset|aborted|refused|broken)"
            r"|RemoteDisconnected|IncompleteRead|Max retries exceeded|IncompleteDownload",
            _(
                "the package server cannot be reached; check the network and try again, or install from a folder of"
                " wheels that another computer has downloaded"
            ),
        ),
        (
            r"No matching distribution found",
            _(
                "{package} was not found: there is no network, or the folder of wheels lacks it for this Python and"
                " computer"
            ),
        ),
    )


_PACKAGE = re.compile(r"(?:satisfies the requirement|No matching distribution found for) ([\w.\-\[\]]+)")
_WANTED = re.compile(r"conflict is caused by:\s+(.+)")
_PRESENT = re.compile(r"\(constraint\) (\S+)")


class PipOutput:
    """Collects pip's lines: for a user who waits, and for the reason why it failed."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._told = 0
        self.percent: int | None = None  # of the download that goes on

    def add(self, line: str) -> str:
        """Take a line; gives what to show of it, empty for nothing new."""
        found = _PROGRESS.fullmatch(line.strip())
        if found:
            done, total = map(int, found.groups())
            self.percent = 100 * done // total if total else None
            if self.percent is None or self.percent < self._told + _STEP:
                return ""
            self._told = self.percent
            return f"{self._lines[-1].strip() if self._lines else _('download')}: {self.percent} %"
        self._told, self.percent = 0, None
        self._lines.append(line)
        return line.strip()

    def reason(self) -> str:
        """Why pip failed, and what to do about it, in one line."""
        text = "\n".join(self._lines)
        package, wanted, present = (pattern.search(text) for pattern in (_PACKAGE, _WANTED, _PRESENT))
        words = {
            "package": package[1] if package else _("a package"),
            "conflict": _(" ({wanted}; there is {present})").format(wanted=wanted[1].strip(), present=present[1])
            if wanted and present
            else "",
        }
        for pattern, cause in _causes():
            if re.search(pattern, text):
                return cause.format(**words)
        last = next((line for line in reversed(self._lines) if line.strip()), _("pip ended without a word"))
        return last.strip().removeprefix("ERROR: ")
