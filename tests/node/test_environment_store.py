"""The cache of installed environments: who may use, build and remove what, and in which order things go."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shoal.node.environment_store import (
    BYTES_MAX_VARIABLE,
    MARKER,
    UNUSED_S_MAX,
    EnvironmentStore,
    Recipe,
    UnusableStore,
    recipe_of,
)


@pytest.fixture
def store(tmp_path: Path) -> EnvironmentStore:
    return EnvironmentStore(str(tmp_path / "environments"))


def build(store: EnvironmentStore, digest: str, size_bytes: int = 1000, unused_s: float = 0) -> Path:
    """An environment that nobody uses."""
    folder = Path(store.folder(digest))
    folder.mkdir()
    (folder / "content").write_bytes(bytes(size_bytes))
    store.complete(digest, {"label": digest})
    used_s = time.time() - unused_s
    os.utime(folder / MARKER, (used_s, used_s))
    return folder


def recipe(**changes: Any) -> Recipe:
    return replace(Recipe("pip", ["a"], [], "", False, {}, {}, ["3.11"], []), **changes)


@pytest.mark.parametrize(
    "change",
    [
        {"installer": "uv"},
        {"packages": ["a", "b"]},
        {"packages": ["a==1"]},
        {"options": ["--no-index"]},
        {"version": "==23.0"},
        {"check": True},
        {"files": {"/wheel.whl": "1234"}},
        {"variables": {"PIP_INDEX_URL": "https://host"}},
        {"python": ["3.12"]},
        {"provided": ["numpy-1.0.dist-info"]},
    ],
)
def test_everything_in_a_recipe_makes_another_environment(change: dict[str, Any]) -> None:
    assert recipe(**change).digest != recipe().digest
    assert recipe(**change).digest == recipe(**change).digest


def test_a_recipe_takes_what_concerns_installing_from_the_fields(tmp_path: Path) -> None:
    provided = tmp_path / "site-packages"
    (provided / "numpy-1.0.dist-info").mkdir(parents=True)
    fields = {
        "pip": {
            "packages": ["a", "./b.whl"],
            "pip_install_options": ["--no-index"],
            "pip_version": "==23.0",
            "pip_check": True,
        },
        "env_vars": {"PIP_INDEX_URL": "https://host", "STAGE": "test"},
        "local_files": {"b.whl": "12"},
    }
    made = recipe_of(fields, [str(provided)])
    assert (made.installer, made.packages, made.options, made.version) == ("pip", ["a", "./b.whl"], ["--no-index"], "==23.0")
    assert made.check and made.files == {"b.whl": "12"} and made.variables == {"PIP_INDEX_URL": "https://host"}
    assert made.provided == ["numpy-1.0.dist-info"]
    assert made.label.startswith(f"pip environment {made.digest[:8]} (a, b.whl)")
    assert recipe_of({"uv": {"packages": ["a"]}}, [str(provided)]).provided == []


def test_the_folder_is_the_owners_alone(tmp_path: Path) -> None:
    store = EnvironmentStore(str(tmp_path / "cache" / "environments"))
    assert os.stat(store.root).st_mode & 0o777 == 0o700
    os.chmod(store.root, 0o777)
    with pytest.raises(UnusableStore, match="mode 0o777"):
        EnvironmentStore(store.root)


def test_the_cache_is_where_the_user_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "own"))
    assert EnvironmentStore.of_user().root == str(tmp_path / "own" / "environments")
    monkeypatch.delenv("SHOAL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert EnvironmentStore.of_user().root == str(tmp_path / "xdg" / "shoal" / "environments")


def test_what_is_half_made_is_never_shared(store: EnvironmentStore) -> None:
    os.mkdir(store.folder("a"))
    lock = store.open_lock("a")
    assert not store.share("a", lock)
    store.complete("a", {})
    assert store.share("a", lock)
    os.close(lock)


def test_using_is_shared_and_building_is_not(store: EnvironmentStore) -> None:
    build(store, "a")
    locks = [store.open_lock("a") for _ in range(3)]
    assert store.share("a", locks[0]) and store.share("a", locks[1])
    with pytest.raises(BlockingIOError):
        fcntl.flock(locks[2], fcntl.LOCK_EX | fcntl.LOCK_NB)
    for lock in locks[:2]:
        os.close(lock)
    fcntl.flock(locks[2], fcntl.LOCK_EX | fcntl.LOCK_NB)
    other = store.open_lock("a")
    assert not store.share("a", other)
    for lock in (locks[2], other):
        os.close(lock)


def test_use_is_remembered(store: EnvironmentStore) -> None:
    folder = build(store, "a", unused_s=1000)
    lock = store.open_lock("a")
    assert store.share("a", lock)
    assert time.time() - os.stat(folder / MARKER).st_mtime < 500
    os.close(lock)


def test_what_was_not_used_for_long_goes(store: EnvironmentStore) -> None:
    build(store, "old", unused_s=UNUSED_S_MAX + 60)
    build(store, "recent", unused_s=UNUSED_S_MAX - 60)
    assert store.evict(keep="new") == ["old"]
    assert not os.path.exists(store.folder("old")) and store.is_complete("recent")


def test_beyond_the_size_limit_the_least_recently_used_goes_first(
    store: EnvironmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for digest, unused_s in (("first", 300), ("second", 200), ("third", 100)):
        build(store, digest, 1000, unused_s)
    monkeypatch.setenv(BYTES_MAX_VARIABLE, "2500")
    assert store.evict(keep="third") == ["first"]
    monkeypatch.setenv(BYTES_MAX_VARIABLE, "1")
    assert store.evict(keep="third") == ["second"]
    assert store.is_complete("third")  # just made: it stays whatever its size


def test_what_is_in_use_stays(store: EnvironmentStore) -> None:
    build(store, "used", unused_s=UNUSED_S_MAX + 60)
    lock = store.open_lock("used")
    fcntl.flock(lock, fcntl.LOCK_SH)
    assert store.evict(keep="new") == [] and store.is_complete("used")
    os.close(lock)
    assert store.evict(keep="new") == ["used"]


def test_leftovers_of_a_dead_builder_go_and_those_of_a_living_one_stay(store: EnvironmentStore) -> None:
    for digest in ("dead", "living"):
        os.mkdir(store.folder(digest))
    lock = store.open_lock("living")
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert store.evict(keep="new") == []
    assert not os.path.exists(store.folder("dead")) and os.path.exists(store.folder("living"))
    os.close(lock)


def test_what_is_complete_is_listed_with_its_size(store: EnvironmentStore) -> None:
    build(store, "whole", size_bytes=5000)
    Path(store.folder("half-made")).mkdir()
    [(digest, facts)] = store.facts().items()
    assert (digest, facts["label"], facts["size_bytes"] >= 5000) == ("whole", "whole", True)
