"""What one trial asks for."""

from __future__ import annotations

import warnings
from typing import Any

from shoal.util.placement_group import placement_group


class PlacementGroupFactory:
    """The resources of a trial: the first bundle is the trainable's, the others are for the tasks and actors that it starts.

    ``PlacementGroupFactory([{"CPU": 1, "GPU": 0.5}, {"CPU": 2}], strategy="PACK")``. An empty first bundle: the trainable
    itself needs nothing. Raises ValueError without bundles, or for amounts below 0.
    """

    def __init__(self, bundles: list[dict[str, float]], strategy: str = "PACK", *args: Any, **kwargs: Any) -> None:
        if not bundles:
            raise ValueError("bundles must hold at least one bundle, but got bundles=[]")
        for bundle in bundles:
            for name, amount in bundle.items():
                if amount < 0:
                    raise ValueError(f"a bundle needs {name} >= 0, but got {name}={amount}")
        self._bundles = [{name: float(amount) for name, amount in bundle.items() if amount} for bundle in bundles]
        self._head_is_empty = not self._bundles[0]
        if self._head_is_empty and len(self._bundles) > 1:
            self._bundles.pop(0)
        if any(not bundle for bundle in self._bundles) and len(self._bundles) > 1:
            raise ValueError(f"only the first bundle may be empty, but got bundles={bundles}")
        self._strategy = strategy
        self._args = args
        self._kwargs = kwargs
        self._total: dict[str, float] = {}
        for bundle in self._bundles:
            for name, amount in bundle.items():
                self._total[name] = self._total.get(name, 0.0) + amount

    @property
    def head_bundle_is_empty(self) -> bool:
        return self._head_is_empty

    @property
    def head_cpus(self) -> float:
        return 0.0 if self._head_is_empty else self._bundles[0].get("CPU", 0.0)

    @property
    def bundles(self) -> list[dict[str, float]]:
        return [dict(bundle) for bundle in self._bundles]

    @property
    def strategy(self) -> str:
        return self._strategy

    @property
    def is_single(self) -> bool:
        """Whether the trainable's own bundle is all there is, so that no placement group is needed."""
        return len(self._bundles) == 1 and not (self._head_is_empty and self._bundles[0])

    @property
    def required_resources(self) -> dict[str, float]:
        """The sum over all bundles; not to be changed."""
        return self._total

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The placement group itself."""
        return placement_group(self.bundles, self._strategy, *self._args, **{**self._kwargs, **kwargs})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroupFactory) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(repr(self._key()))

    def _key(self) -> tuple[Any, ...]:
        return (self._bundles, self._head_is_empty, self._strategy, self._args, self._kwargs)

    def __repr__(self) -> str:
        return f"<PlacementGroupFactory (_bound={self._bundles}, strategy={self._strategy!r})>"

    def to_json(self) -> dict[str, Any]:
        return {"bundles": ([{}] if self._head_is_empty else []) + self._bundles, "strategy": self._strategy}


def resource_dict_to_pg_factory(spec: dict[str, Any] | None = None) -> PlacementGroupFactory:
    """``{"cpu": 2, "gpu": 1, "custom": 3}`` as a factory of one bundle; CPU defaults to 0 when something else is asked for."""
    spec = dict(spec or {"cpu": 1})
    if any(key.startswith("extra_") for key in spec):
        raise ValueError(f"extra_cpu and extra_gpu are gone: use a PlacementGroupFactory, but got resources={spec}")
    custom = spec.pop("custom_resources", None)
    if isinstance(custom, dict):
        spec.update(custom)
    names = {"cpu": "CPU", "gpu": "GPU"}
    return PlacementGroupFactory([{names.get(key, key): value for key, value in spec.items()}])


def as_placement_group_factory(resources: Any, config: dict[str, Any] | None = None) -> PlacementGroupFactory | None:
    """Whatever users may pass for resources; None stays None. Raises ValueError for the rest."""
    if callable(resources) and not isinstance(resources, PlacementGroupFactory):
        resources = resources(config or {})
    if resources is None or isinstance(resources, PlacementGroupFactory):
        return resources
    if isinstance(resources, dict):
        return resource_dict_to_pg_factory(resources)
    if hasattr(resources, "as_placement_group_factory"):
        warnings.warn("ScalingConfig is converted to a PlacementGroupFactory", stacklevel=2)
        found: PlacementGroupFactory = resources.as_placement_group_factory()
        return found
    raise ValueError(
        f"resources must be a dictionary, a PlacementGroupFactory or a function of the config, but got resources={resources!r}"
    )
