from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from shoal.core.native import local_files


def environment(*packages: str) -> dict[str, Any]:
    return {"pip": {"packages": list(packages)}}


def digests(*packages: str) -> dict[str, str]:
    return local_files.digests(local_files.absolute(environment(*packages)))


def test_names_from_an_index_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "requests").mkdir()
    names = [
        "requests",
        "a==1.0; python_version > '3.8'",
        "b[x]>=2",
        "c @ https://host/c.whl",
        "--index-url https://host/simple",
    ]
    assert digests(*names) == {}
    assert local_files.absolute(environment(*names)) == environment(*names)


def test_paths_become_absolute_and_keep_what_stands_around_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.whl", "project", "wheels"):
        (tmp_path / name).mkdir()
    given = {
        "uv": {
            "packages": ["a.whl", "./project[fast]", "-e ./project", "a.whl ; python_version > '3'", "--find-links ./wheels"],
            "uv_pip_install_options": ["--no-index", "--find-links", "./wheels", "--find-links=./wheels", "wheels"],
        }
    }
    assert local_files.absolute(given)["uv"] == {
        "packages": [
            f"{tmp_path}/a.whl",
            f"{tmp_path}/project[fast]",
            f"-e {tmp_path}/project",
            f"{tmp_path}/a.whl; python_version > '3'",
            f"--find-links {tmp_path}/wheels",
        ],
        "uv_pip_install_options": [
            "--no-index",
            "--find-links",
            f"{tmp_path}/wheels",
            f"--find-links={tmp_path}/wheels",
            "wheels",
        ],
    }
    assert given["uv"]["packages"][0] == "a.whl"


def test_requirements_may_name_files_of_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("a")
    line = f"-r ${{{local_files.WORKING_DIR}}}/requirements.txt"
    given = {**environment(line), "working_dir": str(tmp_path)}
    changed = local_files.absolute(given)
    assert changed["pip"]["packages"] == [f"-r {tmp_path}/requirements.txt"]
    assert list(local_files.digests(changed)) == [f"{tmp_path}/requirements.txt"]
    # An archive is not unpacked yet.
    assert local_files.absolute({**given, "working_dir": "file:///a.zip"})["pip"]["packages"] == [line]


def test_other_content_has_another_digest(tmp_path: Path) -> None:
    wheel = tmp_path / "a-1-py3-none-any.whl"
    wheel.write_bytes(b"one")
    first = digests(str(wheel))
    assert digests(str(wheel)) == first == digests(f"a @ file://{wheel}")
    wheel.write_bytes(b"two!")
    assert digests(str(wheel)).keys() == first.keys() and digests(str(wheel)) != first


def test_files_named_by_requirements_files_count(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("b==1\n-c limits.txt\n")
    (tmp_path / "limits.txt").write_text("b<2")
    requirements = f"-r {tmp_path}/more.txt"
    first = digests(requirements)
    assert sorted(first) == [f"{tmp_path}/limits.txt", f"{tmp_path}/more.txt"]
    (tmp_path / "limits.txt").write_text("b<3")
    assert digests(requirements)[f"{tmp_path}/limits.txt"] != first[f"{tmp_path}/limits.txt"]


def test_a_source_folder_counts_with_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    source = tmp_path / "package" / "module.py"
    source.write_text("VALUE = 1")
    first = digests(str(tmp_path))
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "module.pyc").write_bytes(b"x")
    assert digests(str(tmp_path)) == first
    source.write_text("VALUE = 2")
    assert digests(str(tmp_path)) != first


def test_a_worker_keeps_to_the_digests_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_files, "_inherited", {})
    wheel = str(tmp_path / "a.whl")
    Path(wheel).write_bytes(b"one")
    first = digests(wheel)
    local_files.inherit(environment(wheel), first)
    Path(wheel).write_bytes(b"two!")
    assert digests(wheel) == first
    assert digests(wheel, "other") != first
    os.unlink(wheel)
    assert digests(wheel) == first
