"""Metrics of user code: counters, gauges and histograms, kept in the process that records them, and as Prometheus text.

>>> requests = Counter("requests", description="Requests served", tag_keys=("route",))
>>> requests.inc(tags={"route": "/"})
>>> print(prometheus_text())
# HELP ray_requests_total Requests served
# TYPE ray_requests_total counter
ray_requests_total{route="/"} 1.0
"""

from __future__ import annotations

import math
import re
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

__all__ = ["Counter", "Gauge", "Histogram", "prometheus_text"]

_VALID_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")

Number: TypeAlias = "int | float"
_Tags = tuple[tuple[str, str], ...]


class Metric:
    """What all metrics share: a name, tags, and one series of values for each combination of tags.

    Metrics of the same name, kind and process are the same series. A metric with a bad name warns, and records nothing.
    """

    kind = ""

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None) -> None:
        if not name:
            raise ValueError("name must not be empty, but got name=''")
        self._name = name
        self._description = description
        self._tag_keys = _checked_tag_keys(tag_keys)
        self._default_tags: dict[str, str] = {}
        self._discarded = _VALID_NAME.fullmatch(name) is None
        if self._discarded:
            warnings.warn(
                f"the metric named {name!r} is discarded: names consist of letters, digits, _ and :, and start with no digit",
                UserWarning,
                stacklevel=3,
            )

    def set_default_tags(self, default_tags: dict[str, str]) -> Any:
        """Tags for recordings that do not give them; returns the metric itself.

        Raises ValueError for a tag that ``tag_keys`` does not have, TypeError for a value that is no str."""
        for key, value in default_tags.items():
            if key not in self._tag_keys:
                raise ValueError(f"default tags must be among tag_keys={self._tag_keys}, but got {key!r}")
            _check_tag_value(key, value)
        self._default_tags = dict(default_tags)
        return self

    @property
    def info(self) -> dict[str, Any]:
        """name, description, tag_keys and default_tags."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": dict(self._default_tags),
        }

    def _tags(self, tags: Mapping[str, str] | None) -> _Tags:
        for key, value in (tags or {}).items():
            _check_tag_value(key, value)
        final = {**self._default_tags, **(tags or {})}
        missing = [key for key in self._tag_keys if key not in final]
        if missing:
            raise ValueError(f"{self._name} needs values for the tags {missing}, but got tags={dict(tags or {})}")
        return tuple(sorted(final.items()))

    def _family(self) -> _Family:
        return _registry.family(self._name, self.kind, self._description)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), (self._name, self._description, self._tag_keys), self._default_tags)


class Counter(Metric):
    """A sum that only grows. Exported with the suffix ``_total``."""

    kind = "counter"

    def inc(self, value: Number = 1.0, tags: dict[str, str] | None = None) -> None:
        """Adds ``value``, which must be > 0 (ValueError). Raises ValueError when a tag is missing, TypeError for other
        types."""
        _check_number(value)
        if value <= 0:
            raise ValueError(f"value must be > 0, but got value={value}")
        final = self._tags(tags)
        if not self._discarded:
            self._family().add(final, float(value))


class Gauge(Metric):
    """The latest value of something that goes up and down."""

    kind = "gauge"

    def set(self, value: Number | None, tags: dict[str, str] | None = None) -> None:
        """Records ``value``; None records nothing. Raises ValueError when a tag is missing, TypeError for other types."""
        if value is None:
            return
        _check_number(value)
        final = self._tags(tags)
        if not self._discarded:
            self._family().set(final, float(value))


class Histogram(Metric):
    """How values are spread over the intervals between ``boundaries``, all of which must be > 0 (ValueError)."""

    kind = "histogram"

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: Sequence[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(name, description, tag_keys)
        if not boundaries:
            raise ValueError(
                f"boundaries must have at least one value, as in boundaries=[1.0, 2.0], but got boundaries={boundaries}"
            )
        for index, boundary in enumerate(boundaries):
            if boundary <= 0:
                raise ValueError(f"boundaries must be > 0, but got {boundary} at index {index} of boundaries={boundaries}")
        self.boundaries = list(boundaries)

    def observe(self, value: Number, tags: dict[str, str] | None = None) -> None:
        """Counts ``value``. Raises ValueError when a tag is missing, TypeError when it is no number."""
        _check_number(value)
        final = self._tags(tags)
        if not self._discarded:
            self._family().observe(final, float(value), self.boundaries)

    @property
    def info(self) -> dict[str, Any]:
        """As for the others, and boundaries."""
        return {**super().info, "boundaries": self.boundaries}

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self._name, self._description, self.boundaries, self._tag_keys)
        return _restore, (type(self), arguments, self._default_tags)


def prometheus_text(prefix: str = "ray_") -> str:
    """Everything this process has recorded, in the text format that Prometheus reads."""
    return "".join(line + "\n" for family in _registry.families() for line in family.lines(prefix))


class _Family:
    """All series of one metric."""

    def __init__(self, name: str, kind: str, description: str) -> None:
        self.name = name
        self.kind = kind
        self.description = description
        self._lock = threading.Lock()
        self._values: dict[_Tags, float] = {}
        self._spreads: dict[_Tags, _Spread] = {}

    def add(self, tags: _Tags, value: float) -> None:
        with self._lock:
            self._values[tags] = self._values.get(tags, 0.0) + value

    def set(self, tags: _Tags, value: float) -> None:
        with self._lock:
            self._values[tags] = value

    def observe(self, tags: _Tags, value: float, boundaries: Sequence[float]) -> None:
        with self._lock:
            spread = self._spreads.setdefault(tags, _Spread(boundaries))
            spread.observe(value)

    def lines(self, prefix: str) -> list[str]:
        name = f"{prefix}{self.name}{'_total' if self.kind == 'counter' else ''}"
        with self._lock:
            samples = [f"{name}{_labels(tags)} {_number(value)}" for tags, value in sorted(self._values.items())]
            for tags, spread in sorted(self._spreads.items()):
                samples += spread.lines(name, tags)
        description = self.description.replace("\\", r"\\").replace("\n", r"\n")
        return [f"# HELP {name} {description}", f"# TYPE {name} {self.kind}", *samples]


class _Spread:
    """The buckets of one series of a histogram."""

    def __init__(self, boundaries: Sequence[float]) -> None:
        self._bounds = [*sorted(boundaries), math.inf]
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._sum += value
        for index, bound in enumerate(self._bounds):
            if value <= bound:
                self._counts[index] += 1

    def lines(self, name: str, tags: _Tags) -> list[str]:
        # Buckets are cumulative: each counts everything up to its bound.
        buckets = zip(self._bounds, self._counts, strict=True)
        return [
            *(f"{name}_bucket{_labels((*tags, ('le', _number(bound))))} {count}" for bound, count in buckets),
            f"{name}_sum{_labels(tags)} {_number(self._sum)}",
            f"{name}_count{_labels(tags)} {self._counts[-1]}",
        ]


class _Registry:
    """The families of this process, by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._families: dict[tuple[str, str], _Family] = {}

    def family(self, name: str, kind: str, description: str) -> _Family:
        with self._lock:
            return self._families.setdefault((name, kind), _Family(name, kind, description))

    def families(self) -> list[_Family]:
        with self._lock:
            return [family for _, family in sorted(self._families.items())]


_registry = _Registry()


def _restore(cls: type[Metric], arguments: tuple[Any, ...], default_tags: dict[str, str]) -> Metric:
    metric = cls(*arguments)
    metric.set_default_tags(default_tags)
    return metric


def _checked_tag_keys(tag_keys: Any) -> tuple[str, ...]:
    if tag_keys is None:
        return ()
    if not isinstance(tag_keys, tuple):
        raise TypeError(f"tag_keys must be a tuple of str, but got tag_keys={tag_keys!r}")
    for key in tag_keys:
        if not isinstance(key, str):
            raise TypeError(f"tag_keys must be a tuple of str, but got {key!r} in tag_keys={tag_keys!r}")
    return tag_keys


def _check_tag_value(key: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"the values of tags must be str, but got {key}={value!r}")


def _check_number(value: Any) -> None:
    if not isinstance(value, (int, float)):
        raise TypeError(f"value must be int or float, but got value={value!r}")


def _labels(tags: _Tags) -> str:
    if not tags:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in tags) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return "+Inf" if value == math.inf else repr(value)
