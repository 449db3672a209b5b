"""What a driver has imported, for the process that workers are forked from."""

from __future__ import annotations

import sys


def loaded_modules() -> list[str]:
    """Top-level modules this process has imported that are no part of Python or of Shoal's own base."""
    skipped = {*sys.stdlib_module_names, "__main__", "shoal", "cloudpickle", "msgspec", "pytest", "_pytest"}
    names = {name.partition(".")[0] for name in list(sys.modules)}
    return sorted(name for name in names - skipped if _is_importable(name))


def _is_importable(name: str) -> bool:
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    return spec is not None and spec.origin not in (None, "built-in", "frozen") and "site-packages" in str(spec.origin)
