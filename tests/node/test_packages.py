"""Folders and archives of code."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from shoal.node.packages import Packages, UnusablePackage


@pytest.fixture
def packages(tmp_path: Path) -> Packages:
    return Packages(str(tmp_path / "unpacked"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name in ("code.py", "notes.txt", "data/big.bin", "data/keep/small.bin", "deep/data/more.bin", "build/out.o"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def files_in(folder: str) -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


def archive(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as writer:
        for name in names:
            writer.writestr(name, name)
    return path


def test_a_folder_is_used_in_place(packages: Packages, project: Path) -> None:
    assert packages.folder_of(str(project), "working_dir") == str(project)


@pytest.mark.parametrize(
    ("excludes", "left"),
    [
        (["*.bin"], {"code.py", "notes.txt", "build/out.o"}),
        (["/data/"], {"code.py", "notes.txt", "deep/data/more.bin", "build/out.o"}),
        (["data/"], {"code.py", "notes.txt", "build/out.o"}),
        (["*.txt", "data/*.bin", "**/out.o"], {"code.py", "data/keep/small.bin", "deep/data/more.bin"}),
        (["*.bin", "!more.bin"], {"code.py", "notes.txt", "build/out.o", "deep/data/more.bin"}),
        (["note?.txt"], {"code.py", "data/big.bin", "data/keep/small.bin", "deep/data/more.bin", "build/out.o"}),
    ],
)
def test_excludes_leave_a_copy_without_what_they_match(
    packages: Packages, project: Path, excludes: list[str], left: set[str]
) -> None:
    copy = packages.folder_of(str(project), "working_dir", excludes)
    assert (Path(copy).name, files_in(copy)) == ("project", left)
    assert len(files_in(str(project))) == 6


def test_an_archive_is_unpacked_once_until_it_changes(packages: Packages, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", "one.py")
    first = packages.folder_of(str(path), "py_modules")
    assert packages.folder_of(str(path), "py_modules") == first
    assert files_in(first) == {"one.py"}
    archive(path, "two.py")
    assert files_in(packages.folder_of(str(path), "py_modules")) == {"two.py"}
    assert len(list((tmp_path / "unpacked").iterdir())) == 2, "nothing unfinished is left"


def test_an_archive_of_one_folder_given_as_uri_stands_for_the_folder(packages: Packages, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", "project-1.0/one.py")
    assert files_in(packages.folder_of(f"file://{path}", "working_dir")) == {"one.py"}
    assert files_in(packages.folder_of(str(path), "working_dir")) == {"project-1.0/one.py"}


def test_a_package_in_an_archive_stays_a_package(packages: Packages, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", "package/__init__.py")
    assert files_in(packages.folder_of(f"file://{path}", "py_modules")) == {"package/__init__.py"}


def test_an_archive_cannot_write_outside(packages: Packages, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", "../../escaped.py", "fine.py")
    packages.folder_of(str(path), "working_dir")
    assert not list(tmp_path.glob("escaped.py"))


def test_a_single_module_is_copied_again_when_it_has_changed(packages: Packages, tmp_path: Path) -> None:
    module = tmp_path / "single.py"
    module.write_text("VALUE = 1")
    folders = [packages.folder_of(str(module), "py_modules") for _ in range(2)]
    assert folders[0] == folders[1] and os.listdir(folders[0]) == ["single.py"]
    module.write_text("VALUE = 2")
    os.utime(module, ns=(1, 1))
    assert Path(packages.folder_of(str(module), "py_modules"), "single.py").read_text() == "VALUE = 2"


@pytest.mark.parametrize("location", ["s3://bucket/a.zip", "/nowhere/at/all", __file__])
def test_what_cannot_be_used_is_named(packages: Packages, location: str) -> None:
    with pytest.raises(UnusablePackage, match=r"runtime_env working_dir='"):
        packages.folder_of(location, "working_dir")
