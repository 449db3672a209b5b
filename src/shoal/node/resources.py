"""Logical resources: amounts in units of 0.0001, pools they are taken from, and the packing of devices such as GPUs.

A pool is the whole node, or one bundle of a placement group. The CPU part of an allocation can be lent while its process waits
in ``get`` or ``wait``, and comes back when the process goes on, even when somebody else has it by then: ``available`` may so
be negative for CPU, and only for CPU."""

from __future__ import annotations

import msgspec

from shoal.core.accelerators import FAMILIES

UNITS = 10_000
"""Units of one whole resource."""

CPU = "CPU"
DEVICE_RESOURCES = FAMILIES
"""Resources whose instances have an identity: who gets a part is told which device it is on."""


def to_units(amounts: dict[str, float]) -> dict[str, int]:
    """Amounts in whole units, without the zeros. Raises ValueError for negative amounts and broken devices above one."""
    units: dict[str, int] = {}
    for name, amount in amounts.items():
        if not amount >= 0:
            raise ValueError(f"the amount of resource {name!r} must be >= 0, but got {amount}")
        value = round(amount * UNITS)
        if name in DEVICE_RESOURCES and value > UNITS and value % UNITS:
            raise ValueError(f"more than one {name} must be a whole number, but got {name}={amount}")
        if value:
            units[name] = value
    return units


def to_amounts(units: dict[str, int]) -> dict[str, float]:
    return {name: value / UNITS for name, value in units.items()}


class Allocation(msgspec.Struct, eq=False):
    """What somebody holds of a pool. ``devices`` maps a device resource to (device index, units) pairs."""

    amounts: dict[str, int]
    devices: dict[str, list[tuple[int, int]]] = msgspec.field(default_factory=dict)
    cpu_lent: bool = False

    def device_ids(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Hashable names of the devices, for the environment of the process."""
        return tuple(sorted((name, tuple(index for index, _ in parts)) for name, parts in self.devices.items()))


class ResourcePool:
    """Amounts somebody may take from. ``devices`` gives the free units of each device; by default all devices of the totals."""

    def __init__(self, total: dict[str, int], devices: dict[str, dict[int, int]] | None = None) -> None:
        self.total = dict(total)
        self.available = dict(total)
        if devices is None:
            devices = {name: _whole_devices(total[name]) for name in DEVICE_RESOURCES if total.get(name)}
        self._devices_total = {name: dict(parts) for name, parts in devices.items()}
        self._devices = {name: dict(parts) for name, parts in devices.items()}

    def missing(self, amounts: dict[str, int]) -> dict[str, tuple[int, int]]:
        """What this pool can never give: resource -> (wanted, total)."""
        return {name: (wanted, self.total.get(name, 0)) for name, wanted in amounts.items() if wanted > self.total.get(name, 0)}

    def fits(self, amounts: dict[str, int]) -> bool:
        """Whether the amounts are free now."""
        if any(wanted > self.available.get(name, 0) for name, wanted in amounts.items()):
            return False
        return all(self._choose(name, amounts[name]) is not None for name in self._devices if name in amounts)

    def allocate(self, amounts: dict[str, int]) -> Allocation | None:
        """Takes the amounts, or nothing and returns None."""
        if not self.fits(amounts):
            return None
        allocation = Allocation(dict(amounts))
        for name in self._devices:
            parts = self._choose(name, amounts.get(name, 0))
            if parts:
                allocation.devices[name] = parts
                for index, units in parts:
                    self._devices[name][index] -= units
        for name, wanted in amounts.items():
            self.available[name] -= wanted
        return allocation

    def could_give(self, parts: list[dict[str, int]], held: list[tuple[Allocation, bool]]) -> bool:
        """Whether all parts would fit if only ``held`` were taken; with True beside an allocation, its CPUs are lent."""
        trial = ResourcePool(self.total, self._devices_total)
        for allocation, lends_cpu in held:
            for name, units in allocation.amounts.items():
                if not (name == CPU and lends_cpu):
                    trial.available[name] = trial.available.get(name, 0) - units
            for name, taken in allocation.devices.items():
                for index, units in taken:
                    trial._devices[name][index] -= units
        return all(trial.allocate(part) is not None for part in parts)

    def release(self, allocation: Allocation) -> None:
        """Gives everything back that the allocation still holds."""
        if allocation.cpu_lent:
            self.take_back_cpu(allocation)
        self.shrink(allocation, {})

    def shrink(self, allocation: Allocation, amounts: dict[str, int]) -> None:
        """Keeps only ``amounts`` (each at most what is held) of the allocation."""
        for name, held in list(allocation.amounts.items()):
            kept = min(amounts.get(name, 0), held)
            self.available[name] += held - kept
            if kept:
                allocation.amounts[name] = kept
            else:
                del allocation.amounts[name]
            if kept == 0 and name in allocation.devices:
                for index, units in allocation.devices.pop(name):
                    self._devices[name][index] += units

    def lend_cpu(self, allocation: Allocation) -> None:
        if not allocation.cpu_lent:
            allocation.cpu_lent = True
            self.available[CPU] = self.available.get(CPU, 0) + allocation.amounts.get(CPU, 0)

    def take_back_cpu(self, allocation: Allocation) -> None:
        if allocation.cpu_lent:
            allocation.cpu_lent = False
            self.available[CPU] = self.available.get(CPU, 0) - allocation.amounts.get(CPU, 0)

    def validate(self, allocations: list[Allocation]) -> None:
        """Raises AssertionError unless the pool's books agree with everything that was allocated from it."""
        for name in {*self.total, *self.available}:
            held = sum(item.amounts.get(name, 0) for item in allocations if not (name == CPU and item.cpu_lent))
            if self.total.get(name, 0) - held != self.available.get(name, 0):
                raise AssertionError(f"{name}: total {self.total.get(name, 0)} - held {held} != {self.available.get(name, 0)}")
            if name != CPU and self.available.get(name, 0) < 0:
                raise AssertionError(f"{name} is oversubscribed: {self.available[name]}")
        for name, parts in self._devices_total.items():
            for index, total in parts.items():
                held = sum(units for item in allocations for where, units in item.devices.get(name, ()) if where == index)
                if total - held != self._devices[name][index] or held > total:
                    raise AssertionError(
                        f"{name} device {index}: total {total}, held {held}, free {self._devices[name][index]}"
                    )

    def _choose(self, name: str, wanted: int) -> list[tuple[int, int]] | None:
        """Devices for ``wanted`` units: a part goes to the fullest device it fits on, whole ones are taken in order."""
        if not wanted:
            return []
        free = self._devices[name]
        if wanted < UNITS:
            fitting = [(units, index) for index, units in free.items() if units >= wanted]
            return [(min(fitting)[1], wanted)] if fitting else None
        whole = sorted(index for index, units in free.items() if units == UNITS)
        count = wanted // UNITS
        return [(index, UNITS) for index in whole[:count]] if len(whole) >= count else None


def _whole_devices(total_units: int) -> dict[int, int]:
    """Devices 0, 1, ... of a total; a broken rest is a device of its own."""
    devices = dict.fromkeys(range(total_units // UNITS), UNITS)
    if total_units % UNITS:
        devices[len(devices)] = total_units % UNITS
    return devices
