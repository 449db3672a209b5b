"""Where workers under another interpreter than the driver's find modules."""

from __future__ import annotations

import re
from collections.abc import Sequence

INSTALLED = "installed"
"""An environment that lies over the driver's packages."""
FOREIGN = "foreign"
"""An interpreter with packages of its own, instead of the driver's."""

_PACKAGES = re.compile(r".*/(site|dist)-packages")
_LIBRARY = re.compile(r".*/(lib-dynload|python3\.?\d+(\.zip)?)")


def worker_path(driver: Sequence[str], own: Sequence[str], kind: str) -> list[str]:
    """``driver``: the import path of the driver; ``own``: that of this interpreter; ``kind``: INSTALLED, FOREIGN or "" for the
    driver's own interpreter."""
    if kind == INSTALLED:
        fresh = [folder for folder in own if folder not in driver]
        first = next((index for index, folder in enumerate(driver) if _PACKAGES.fullmatch(folder)), len(driver))
        return [*driver[:first], *fresh, *driver[first:]]
    if kind == FOREIGN:
        scripts = [folder for folder in driver if not _PACKAGES.fullmatch(folder) and not _LIBRARY.fullmatch(folder)]
        return [*(folder for folder in scripts if folder not in own), *own]
    return list(driver)
