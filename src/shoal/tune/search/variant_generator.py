"""From a search space to configurations: grids crossed with samples, values that depend on each other resolved in order.

A *space* is a nested dictionary whose leaves may be domains (``tune.uniform(0, 1)``), grids (``{"grid_search": [...]}``) and
expressions (``{"eval": "2 + 2"}``). A *path* is the tuple of keys that leads to a leaf.
"""

from __future__ import annotations

import itertools
import logging
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from shoal.tune.flatten import copy_containers, flatten_dict
from shoal.tune.search.sample import Categorical, Domain, Function, RandomState

logger = logging.getLogger(__name__)

Path = tuple[Any, ...]


class RecursiveDependencyError(Exception):
    """Values of the space depend on each other in a circle."""


def grid_search(values: Any) -> dict[str, Any]:
    """Each of ``values`` is tried; several grids are crossed with each other."""
    return {"grid_search": values}


def generate_variants(
    unresolved_spec: dict[str, Any], constant_grid_search: bool = False, random_state: RandomState = None
) -> Iterator[tuple[dict[Path, Any], dict[str, Any]]]:
    """All configurations of ``unresolved_spec``: pairs of what was resolved (by path) and the resolved copy.

    Grids are crossed, the alphabetically first varying fastest. Everything else is drawn anew for each grid point, or once for
    all of them with ``constant_grid_search``. Raises RecursiveDependencyError for values that wait for each other.
    """
    if constant_grid_search:
        yield from _constant_variants(unresolved_spec, random_state)
        return
    _, _, grids = parse_spec_vars(unresolved_spec)
    for grid_values in _grid_points(grids):
        spec = copy_containers(unresolved_spec)
        for path, value in grid_values.items():
            assign_value(spec, path, copy_containers(value))
        resolved = dict(grid_values)
        _resolve_domains(spec, resolved, random_state)
        yield from _resolve_rest(spec, resolved, random_state)


def _constant_variants(space: dict[str, Any], random_state: RandomState) -> Iterator[tuple[dict[Path, Any], dict[str, Any]]]:
    """Random values first, the same for all grid points; what depends on the grid afterwards."""
    spec = copy_containers(space)
    drawn: dict[Path, Any] = {}
    _, domains, _ = parse_spec_vars(spec)
    for path, domain in domains:
        if not domain.is_function():
            drawn[path] = domain.sample(None, random_state=random_state)
            assign_value(spec, path, drawn[path])
    for resolved, variant in generate_variants(spec, random_state=random_state):
        yield {**drawn, **resolved}, variant


def _resolve_rest(
    spec: dict[str, Any], resolved: dict[Path, Any], random_state: RandomState
) -> Iterator[tuple[dict[Path, Any], dict[str, Any]]]:
    """A drawn value may itself hold domains or grids: resolve until nothing is left."""
    if not has_unresolved_values(spec):
        yield resolved, spec
        return
    for more, variant in generate_variants(spec, random_state=random_state):
        yield {**resolved, **more}, variant


def parse_spec_vars(spec: Any) -> tuple[list[tuple[Path, Any]], list[tuple[Path, Domain]], list[tuple[Path, list[Any]]]]:
    """The leaves of ``spec`` as three lists of (path, leaf): constants, domains, and grids (sorted by path)."""
    constants: list[tuple[Path, Any]] = []
    domains: list[tuple[Path, Domain]] = []
    grids: list[tuple[Path, list[Any]]] = []
    for path, leaf in _leaves(spec, ()):
        grid = _grid_values(leaf)
        if grid is not None:
            grids.append((path, grid))
        elif isinstance(leaf, Domain):
            domains.append((path, leaf))
        elif _is_expression(leaf):
            domains.append((path, Function(_expression(leaf["eval"]))))
        else:
            constants.append((path, leaf))
    grids.sort(key=lambda item: tuple(str(key) for key in item[0]))
    return constants, domains, grids


def has_unresolved_values(spec: Any) -> bool:
    """Whether a domain, a grid or an expression is left in ``spec``."""
    return any(isinstance(leaf, Domain) or _is_grid(leaf) or _is_expression(leaf) for _, leaf in _leaves(spec, ()))


def without_unresolved(space: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``space`` without its domains, grids and expressions, and without the lists that hold some."""
    left = {}
    for key, value in space.items():
        if isinstance(value, dict) and not _is_grid(value) and not _is_expression(value):
            left[key] = without_unresolved(value)
        elif not has_unresolved_values(value):
            left[key] = value
    return left


def _leaves(spec: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if _is_grid(spec) or _is_expression(spec):
        yield path, spec
    elif isinstance(spec, Mapping):
        for key, value in spec.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(spec, (list, tuple)) and spec and any(_may_hold_leaves(item) for item in spec):
        for index, value in enumerate(spec):
            yield from _leaves(value, (*path, index))
    else:
        yield path, spec


def _may_hold_leaves(item: Any) -> bool:
    return isinstance(item, (Domain, Mapping, list, tuple))


def _is_grid(leaf: Any) -> bool:
    return isinstance(leaf, Mapping) and len(leaf) == 1 and "grid_search" in leaf


def _is_expression(leaf: Any) -> bool:
    return isinstance(leaf, Mapping) and len(leaf) == 1 and isinstance(leaf.get("eval"), str)


def _grid_values(leaf: Any) -> list[Any] | None:
    if isinstance(leaf, Domain) and leaf.is_grid() and isinstance(leaf, Categorical):
        return leaf.categories
    if not _is_grid(leaf):
        return None
    values = leaf["grid_search"]
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__iter__"):
        raise ValueError(f"grid_search needs a list of values, but got grid_search={values!r}")
    values = list(values)
    if not values:
        raise ValueError("grid_search needs at least one value, but got grid_search=[]")
    return values


def _expression(text: str) -> Any:
    names = {"random": random, "np": np}

    def evaluate(spec: Any) -> Any:
        return eval(text, names, {"spec": spec, "config": spec})

    return evaluate


def _grid_points(grids: list[tuple[Path, list[Any]]]) -> Iterator[dict[Path, Any]]:
    paths = [path for path, _ in grids]
    for point in itertools.product(*(values for _, values in reversed(grids))):
        yield dict(zip(paths, reversed(point), strict=True))


def _resolve_domains(spec: dict[str, Any], resolved: dict[Path, Any], random_state: RandomState) -> None:
    """Draws everything that is left, in the order of the space; functions that need a value not yet drawn wait for it."""
    _, waiting, _ = parse_spec_vars(spec)
    while waiting:
        deferred: list[tuple[Path, Domain]] = []
        reason = ""
        for path, domain in waiting:
            try:
                value = domain.sample(_ResolvedView(spec), random_state=random_state)
            except _NotYetResolved as missing:
                deferred.append((path, domain))
                reason = reason or str(missing)
                continue
            assign_value(spec, path, value)
            resolved[path] = value
        if len(deferred) == len(waiting):
            name = "/".join(str(key) for key in deferred[0][0] if key != "config")
            raise RecursiveDependencyError(f"`{name}` recursively depends on {reason}")
        waiting = deferred


class _NotYetResolved(Exception):
    """A function asked for a value that is itself still to be drawn."""


class _ResolvedView(dict[str, Any]):
    """What ``sample_from`` functions see: the space by attribute and by key, with ``config`` optional in between."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the search space has no {name!r}; it has {sorted(map(str, self))}") from None

    def __getitem__(self, key: Any) -> Any:
        if not dict.__contains__(self, key) and isinstance(dict.get(self, "config"), dict):
            return _ResolvedView(dict.__getitem__(self, "config"))[key]
        value = dict.__getitem__(self, key)
        if isinstance(value, Domain) or _is_grid(value) or _is_expression(value):
            raise _NotYetResolved(f"`{key}`, which is not known before it")
        return _ResolvedView(value) if isinstance(value, dict) else value

    def get(self, key: Any, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default


def assign_value(spec: Any, path: Path, value: Any) -> None:
    """Puts ``value`` at ``path``; tuples on the way become lists."""
    parent = spec
    for depth, key in enumerate(path[:-1]):
        child = parent[key]
        if isinstance(child, tuple):
            child = list(child)
            assign_value(spec, path[: depth + 1], child)
        parent = child
    parent[path[-1]] = value


def get_value(spec: Any, path: Path) -> Any:
    for key in path:
        spec = spec[key]
    return spec


def _resolve_nested_dict(nested: Mapping[Any, Any]) -> dict[Path, Any]:
    """``{"a": {"b": 1}}`` as ``{("a", "b"): 1}``."""
    flat: dict[Path, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat.update({(key, *rest): leaf for rest, leaf in _resolve_nested_dict(value).items()})
        else:
            flat[(key,)] = value
    return flat


def count_variants(spec: dict[str, Any], presets: list[dict[str, Any]] | None = None) -> int:
    """How many trials ``spec`` makes: grid points times ``num_samples``, where each preset takes the place of one sample."""
    presets = presets or []
    count = sum(grid_size(apply_preset(spec, preset, quiet=True)) for preset in presets)
    samples = int(spec.get("num_samples", 1))
    return count + max(0, samples - len(presets)) * grid_size(spec)


def grid_size(spec: dict[str, Any]) -> int:
    """The number of grid points of one sample."""
    _, _, grids = parse_spec_vars(spec)
    size = 1
    for _, values in grids:
        size *= len(values)
    return size


def apply_preset(spec: dict[str, Any], preset: Mapping[str, Any], quiet: bool = False) -> dict[str, Any]:
    """A copy of ``spec`` whose config takes the values of ``preset``; unless ``quiet``, warns of values that are not in the
    space."""
    spec = copy_containers(spec)
    config = spec.setdefault("config", {})
    domains = dict(_leaves(config, ()))
    for path, value in _resolve_nested_dict(preset).items():
        if path not in domains:
            _assign_unknown(config, path, value)
            continue
        leaf = domains[path]
        name = "/".join(str(key) for key in path)
        if not quiet and not _is_among(value, leaf):
            logger.warning(f"points_to_evaluate has {name}={value!r}, which is not in the space: {_shown_leaf(leaf)}")
        assign_value(config, path, value)
    return spec


def _is_among(value: Any, leaf: Any) -> bool:
    values = _grid_values(leaf)
    if values is not None:
        return value in values
    return leaf.is_valid(value) if isinstance(leaf, Domain) else bool(leaf == value)


def _shown_leaf(leaf: Any) -> str:
    return str(leaf.domain_str) if isinstance(leaf, Domain) else repr(leaf)


def _assign_unknown(config: dict[str, Any], path: Path, value: Any) -> None:
    for key in path[:-1]:
        config = config.setdefault(key, {})
    config[path[-1]] = value


def resolved_parameters(resolved: Mapping[Path, Any]) -> dict[str, Any]:
    """What was drawn, by name: ``{"x/y": 1}``, without the leading ``config``."""
    return {
        "/".join(str(key) for key in (path[1:] if path[0] == "config" else path)): value for path, value in resolved.items()
    }


def format_vars(resolved: Mapping[Path, Any]) -> str:
    """What was drawn as ``a=1,b=0.5000``, for the names of trials and folders."""
    parts = []
    for path, value in sorted(resolved.items(), key=lambda item: tuple(str(key) for key in item[0])):
        keys = path[1:] if path and path[0] == "config" else path
        names: list[str] = []
        for key in reversed(keys):
            names.append(str(key))
            if not isinstance(key, int):
                break
        parts.append(f"{_clean('_'.join(reversed(names)))}={_clean(value)}")
    return ",".join(parts)


def _clean(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return f"{value:.4f}"
    return re.sub(r"[/\\:*?\"<>| \n\t\0]", "_", str(value))


def format_flat_parameters(config: Mapping[str, Any]) -> str:
    """Like ``format_vars`` for a suggested configuration."""
    return format_vars({tuple(path.split("/")): value for path, value in flatten_dict(dict(config)).items()})
