"""Every block of Python in the documentation and in the README runs, page by page, in the order in which it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md")
LINK = re.compile(r"\]\(([^)#:]+)\)")


def program_of(page: Path) -> str:
    """The page with everything but its Python blanked out, so that tracebacks have the page's line numbers."""
    lines = []
    inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = line.startswith("```")
        lines.append(line if inside and not fence else "")
        if fence:
            inside = line == "```python"
    return "\n".join(lines) + "\n"


def run_page(page: Path, folder: Path) -> None:
    program = folder / f"{page.stem.replace('-', '_')}_page.py"
    program.write_text(program_of(page), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, f"{page.name}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("name", PAGES)
def test_page_runs(name: str, tmp_path: Path) -> None:
    run_page(ROOT / "docs" / name, tmp_path)


def test_tour_in_the_readme_runs(tmp_path: Path) -> None:
    assert "shoal.remote" in program_of(ROOT / "README.md")
    run_page(ROOT / "README.md", tmp_path)


def test_every_page_is_in_the_contents() -> None:
    listed = {target for target in LINK.findall((ROOT / "docs" / "README.md").read_text(encoding="utf-8")) if "/" not in target}
    assert listed == set(PAGES)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", *(f"docs/{name}" for name in PAGES)])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    missing = [target for target in LINK.findall(path.read_text(encoding="utf-8")) if not (path.parent / target).exists()]
    assert not missing
