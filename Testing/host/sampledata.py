"""Slicer's module SampleData, as far as others register with it; nothing is downloaded."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, ClassVar


class SampleDataLogic:
    """Takes what Slicer's takes, and keeps it.

    Attributes:
        sources: the arguments of each registered source that were given.
        categories: titles by category; Slicer has them since 5.12.
    """

    sources: ClassVar[list[dict[str, Any]]] = []
    categories: ClassVar[dict[str, str]] = {}

    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str) -> None:
        SampleDataLogic.categories[category] = title

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
        loadFileType: Any = None,
    ) -> None:
        SampleDataLogic.sources.append({name: value for name, value in locals().items() if value is not None})


def install() -> None:
    """Make SampleData importable."""
    module = ModuleType("SampleData")
    module.__dict__["SampleDataLogic"] = SampleDataLogic
    sys.modules["SampleData"] = module
