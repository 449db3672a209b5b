from __future__ import annotations

from typing import Any

import pytest

from shoal.experimental import internal_kv
from shoal.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_exists,
    _internal_kv_get,
    _internal_kv_initialized,
    _internal_kv_list,
    _internal_kv_put,
)

pytestmark = pytest.mark.usefixtures("cluster")


def test_values_are_kept_under_their_keys() -> None:
    assert _internal_kv_initialized()
    assert not _internal_kv_put("key", "value")
    assert _internal_kv_get(b"key") == b"value"
    assert _internal_kv_exists("key")
    assert _internal_kv_get("missing") is None


def test_values_are_replaced_only_when_wanted() -> None:
    _internal_kv_put("kept", "old")
    assert _internal_kv_put("kept", "new", overwrite=False)
    assert _internal_kv_get("kept") == b"old"
    assert _internal_kv_put("kept", "new")
    assert _internal_kv_get("kept") == b"new"


def test_namespaces_keep_keys_apart() -> None:
    _internal_kv_put("same", "1", namespace="one")
    _internal_kv_put("same", "2", namespace=b"two")
    assert _internal_kv_get("same", namespace="one") == b"1"
    assert not _internal_kv_exists("same", namespace="three")


def test_keys_are_listed_and_deleted_by_prefix() -> None:
    for key in ("list/a", "list/b", "other"):
        _internal_kv_put(key, "x", namespace="n")
    assert sorted(_internal_kv_list("list/", namespace="n")) == [b"list/a", b"list/b"]
    assert _internal_kv_del("list/", del_by_prefix=True, namespace="n") == 2
    assert _internal_kv_del("other", namespace="n") == 1
    assert _internal_kv_del("other", namespace="n") == 0
    assert _internal_kv_list("", namespace="n") == []


@pytest.mark.parametrize(("name", "call"), [("key", lambda: _internal_kv_get(1)), ("value", lambda: _internal_kv_put("k", 1))])  # type: ignore[arg-type]
def test_other_types_are_refused(name: str, call: Any) -> None:
    with pytest.raises(TypeError, match=f"{name} must be str or bytes, but got {name}=1"):
        call()


def test_the_namespace_must_be_text() -> None:
    with pytest.raises(TypeError, match="namespace must be str or bytes"):
        internal_kv._internal_kv_get("k", namespace=1)  # type: ignore[arg-type]
