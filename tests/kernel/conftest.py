"""The helper process that the tests of the kernel run in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .arena_child import Children

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def arena_children() -> Iterator[Children]:
    children = Children()
    yield children
    children.close()
