"""Families of accelerators: resources whose instances have an identity, so that who holds one is told which."""

from __future__ import annotations

FAMILIES = ("GPU", "TPU", "neuron_cores", "HPU", "NPU", "RBLN", "FURIOSA", "TTNPU", "MBLT")

VISIBLE_DEVICES = {"GPU": "CUDA_VISIBLE_DEVICES", "TPU": "TPU_VISIBLE_CHIPS", "neuron_cores": "NEURON_RT_VISIBLE_CORES"}
"""The variables that tell a vendor's libraries which devices a process may use."""


def visibility_variable(family: str) -> str:
    """The variable for a family; one of our own naming where the vendor's is not known here."""
    return VISIBLE_DEVICES.get(family, f"{family}_VISIBLE_DEVICES")
