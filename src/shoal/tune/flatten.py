"""Nested dictionaries and lists as flat ones with ``a/b/0`` keys, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEAF_TYPES = frozenset({str, int, float, bool, type(None)})
"""What most values are: told from containers by identity, which is quicker than to ask an abstract base class."""


def flatten_dict(
    nested: dict[str, Any], delimiter: str = "/", prevent_delimiter: bool = False, flatten_list: bool = False
) -> Any:
    """A copy of ``nested`` with one level: ``{"a": {"b": 1}}`` becomes ``{"a/b": 1}``. The type of ``nested`` is kept.

    ``flatten_list`` also flattens lists, with the index as key. ``prevent_delimiter`` raises ValueError for keys that already
    hold the delimiter. Empty containers stay as they are.
    """
    flat = type(nested)()
    _flatten_into(flat, nested, "", delimiter, prevent_delimiter, flatten_list)
    return flat


def _flatten_into(flat: Any, nested: Any, prefix: str, delimiter: str, prevent_delimiter: bool, flatten_list: bool) -> None:
    items = nested.items() if isinstance(nested, Mapping) else enumerate(nested)
    for key, value in items:
        name: Any = str(key) if not isinstance(key, str) and prefix else key
        if prevent_delimiter and isinstance(name, str) and delimiter in name:
            raise ValueError(f"keys must not contain the delimiter {delimiter!r}, but got key={name!r}")
        path = f"{prefix}{delimiter}{name}" if prefix else name
        is_container = type(value) not in LEAF_TYPES and (
            isinstance(value, Mapping) or (flatten_list and isinstance(value, (list, tuple)))
        )
        if is_container and value:  # the type first: arrays have no truth value
            _flatten_into(flat, value, str(path), delimiter, prevent_delimiter, flatten_list)
        else:
            flat[path] = value


def unflatten_dict(flat: dict[str, Any], delimiter: str = "/") -> Any:
    """The inverse of ``flatten_dict``; raises TypeError when one key is both a value and a prefix of another."""
    nested = type(flat)()
    for path, value in flat.items():
        keys = str(path).split(delimiter)
        target = nested
        for key in keys[:-1]:
            target = target.setdefault(key, type(flat)())
            if not isinstance(target, Mapping):
                raise TypeError(f"Cannot unflatten dict: {key!r} in {path!r} is a value and a prefix at once")
        if isinstance(target.get(keys[-1]), Mapping) and target is not nested:
            raise TypeError(f"Cannot unflatten dict: {path!r} is a value and a prefix at once")
        target[keys[-1]] = value
    return nested


def unflatten_list_dict(flat: dict[str, Any], delimiter: str = "/") -> Any:
    """Like ``unflatten_dict``, but levels whose keys count 0, 1, 2, ... become lists (also the top one)."""
    return _counted_to_lists(unflatten_dict(flat, delimiter))


def _counted_to_lists(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    converted = {key: _counted_to_lists(item) for key, item in value.items()}
    if converted and list(converted) == [str(index) for index in range(len(converted))]:
        return list(converted.values())
    rebuilt: Any = type(value)()
    rebuilt.update(converted)
    return rebuilt


def copy_containers(value: Any) -> Any:
    """A copy of the dictionaries and lists of ``value``, sharing everything that they hold."""
    if type(value) is dict:
        return {key: copy_containers(item) for key, item in value.items()}
    if type(value) is list:
        return [copy_containers(item) for item in value]
    if isinstance(value, dict):
        copied = type(value)()
        copied.update({key: copy_containers(item) for key, item in value.items()})
        return copied
    return value


def merge_dicts(base: dict[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``base`` updated with ``update``, level by level."""
    merged = copy_containers(base)
    for key, value in update.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), dict):
            merged[key] = merge_dicts(merged[key], value)
        else:
            merged[key] = copy_containers(value)
    return dict(merged)
