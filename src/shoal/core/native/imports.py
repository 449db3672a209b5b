"""What a driver has imported, for the process that workers are forked from."""

from __future__ import annotations

import sys

_SKIPPED = frozenset({*sys.stdlib_module_names, "__main__", "cloudpickle", "msgspec", "pytest", "_pytest"})


def loaded_modules() -> list[str]:
    """Modules this process has imported that are no part of Python: installed packages with their submodules (a package's
    name alone would leave most of its import to every worker), and Shoal's own libraries. In the order of their import."""
    return [name for name in list(sys.modules) if name.partition(".")[0] not in _SKIPPED and _is_importable(name)]


def _is_importable(name: str) -> bool:
    if name.startswith("shoal."):
        return not name.startswith(("shoal.core", "shoal.node", "shoal._kernel"))
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    return (
        spec is not None
        and spec.name == name
        and spec.origin not in (None, "built-in", "frozen")
        and "site-packages" in str(spec.origin)
    )
