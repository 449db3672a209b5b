"""Node labels and label selectors: what is well formed, and which labels a selector accepts.

A selector maps keys to ``"v"``, ``"!v"``, ``"in(a,b)"`` or ``"!in(a,b)"``; all entries must hold. A negation also accepts a
node that lacks the key.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME_LENGTH_MAX = 63
PREFIX_LENGTH_MAX = 253
RESERVED_PREFIX = "ray.io/"
NODE_ID_LABEL = "ray.io/node-id"

ANY_VALUE = "*"
"""In a selector that the system has made: the label is there. No label has this value."""
NO_VALUE = "/"
"""In such a selector: stands for a value that no label can have."""

_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_MEMBERSHIP = re.compile(r"in\((.*)\)")

_VALUE_RULE = "at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"


def check_label_key(key: object) -> None:
    """Raises ValueError (TypeError for a non-string) unless ``key`` is ``[prefix/]name`` in the Kubernetes label syntax."""
    if not isinstance(key, str):
        raise TypeError(f"a label key must be a string, but got {key!r}")
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > PREFIX_LENGTH_MAX or not _PREFIX.fullmatch(prefix)):
        raise ValueError(f"Invalid label key prefix `{prefix}` in {key!r}: it must be DNS names separated by dots")
    if not _is_name(name):
        raise ValueError(f"Invalid label key name `{name}` in {key!r}: it must be {_VALUE_RULE}")


def check_label_value(value: object, key: str) -> None:
    """Raises ValueError unless ``value`` is a label value (the empty string is one)."""
    if not isinstance(value, str):
        raise ValueError(f"The value of label {key!r} must be a string, but got {value!r}")
    if value and not _is_name(value):
        raise ValueError(f"Invalid label key value `{value}` of {key!r}: it must be {_VALUE_RULE}")


def check_labels(labels: Mapping[str, str], *, allow_reserved: bool = False) -> dict[str, str]:
    """A checked copy of node labels. Keys under ``ray.io/`` belong to the system unless ``allow_reserved``."""
    for key, value in labels.items():
        check_label_key(key)
        check_label_value(value, key)
        if not allow_reserved and key.startswith(RESERVED_PREFIX):
            raise ValueError(f"Custom label keys `{key}` cannot start with the prefix `{RESERVED_PREFIX}`: it is reserved")
    return dict(labels)


def parse_selector_value(selector: object, key: str) -> tuple[bool, tuple[str, ...]]:
    """``(negated, accepted values)`` of one selector entry. Raises ValueError when it is malformed."""
    if not isinstance(selector, str):
        raise ValueError(f"Invalid label selector value of {key!r}: it must be a string, but got {selector!r}")
    negated, values = _taken_apart(selector)
    is_membership = selector.endswith(")")
    for value in values:
        if not is_label_value(value) or (is_membership and not value):
            raise ValueError(
                f"Invalid label selector value `{selector}` of {key!r}: "
                f"it must be 'v', '!v', 'in(a,b)' or '!in(a,b)', each value {_VALUE_RULE}"
            )
    return negated, values


def check_label_selector(selector: Mapping[str, str]) -> dict[str, str]:
    """A checked copy of a label selector."""
    for key, value in selector.items():
        check_label_key(key)
        parse_selector_value(value, key)
    return dict(selector)


def check_fallback_strategy(strategy: Sequence[Any]) -> tuple[dict[str, str], ...]:
    """The label selectors of a ``fallback_strategy``, checked, in the order in which they are tried."""
    selectors = []
    for entry in strategy:
        if not isinstance(entry, dict):
            raise ValueError(f"Each element in fallback_strategy must be a dictionary, but got {entry!r}")
        if not entry:
            raise ValueError("Empty dictionary found in `fallback_strategy`")
        for option in entry:
            if option != "label_selector":
                raise ValueError(f"Unsupported option found: '{option}'. fallback_strategy takes only 'label_selector'")
        selector = entry["label_selector"]
        if not isinstance(selector, dict):
            raise ValueError(f'The value of "label_selector" must be a dictionary, but got {selector!r}')
        selectors.append(check_label_selector(selector))
    return tuple(selectors)


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a node with ``labels`` satisfies every entry of a checked ``selector``."""
    for key, entry in selector.items():
        negated, values = _taken_apart(entry)
        accepted = key in labels if values == (ANY_VALUE,) else labels.get(key) in values
        if accepted == negated:
            return False
    return True


def is_label_value(text: str) -> bool:
    """Whether a label can have this value."""
    return not text or _is_name(text)


def _taken_apart(selector: str) -> tuple[bool, tuple[str, ...]]:
    negated = selector.startswith("!")
    body = selector[1:] if negated else selector
    membership = _MEMBERSHIP.fullmatch(body)
    return negated, tuple(part.strip() for part in membership.group(1).split(",")) if membership else (body,)


def _is_name(text: str) -> bool:
    return len(text) <= NAME_LENGTH_MAX and _NAME.fullmatch(text) is not None
