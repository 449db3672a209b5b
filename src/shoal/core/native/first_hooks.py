"""What the kernel asks of Python before anything needed an answer: the first question loads the answers (``hooks``), and puts
them in the place of these. So ``import shoal`` loads no pickling."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from shoal import _kernel

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = (
    "serialize",
    "raise_error",
    "store_full",
    "get",
    "put",
    "wait",
    "loads",
    "stream",
    "not_attached",
    "ref_of",
    "not_sent",
    "value_lost",
    "long_wait",
)


def install() -> None:
    """Gives the kernel hooks that load the real ones. Done once, when the package is imported."""
    _kernel.set_hooks({name: _loading(name) for name in NAMES})


def _loading(name: str) -> Callable[..., Any]:
    def hook(*args: Any, **keywords: Any) -> Any:
        hooks = importlib.import_module("shoal.core.native.hooks")
        hooks.install()
        return hooks.all_hooks()[name](*args, **keywords)

    return hook
