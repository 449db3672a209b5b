"""Prints the requirements of one extra of pyproject.toml, one a line: ``python tools/requirements.py test``.

The Makefile installs them apart from the package, so that a change of the sources does not ask the package index again.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def main(extra: str) -> None:
    # tomllib came with Python 3.11 and the project begins at 3.10: the lists are simple enough to be read by hand.
    text = PROJECT.read_text(encoding="utf-8")
    section = text.split("[project.optional-dependencies]", 1)[1].split("\n[", 1)[0]
    found = re.search(rf"^{re.escape(extra)} = \[(.*?)\]\s*$", section, re.MULTILINE | re.DOTALL)
    if found is None:
        raise SystemExit(f"pyproject.toml has no extra called {extra!r}")
    for requirement in re.findall(r'"([^"]+)"', found.group(1)):
        if not requirement.startswith("shoal["):
            print(requirement)


if __name__ == "__main__":
    main(sys.argv[1])
