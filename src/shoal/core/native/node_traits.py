"""What a node is found to be: the type of its GPUs, and the labels that its surroundings give it."""

from __future__ import annotations

import os
import re
import warnings
from typing import TYPE_CHECKING

from shoal.core.labels import NODE_ID_LABEL

if TYPE_CHECKING:
    from collections.abc import Mapping

NVIDIA_FOLDER = "/proc/driver/nvidia/gpus"
ACCELERATOR_TYPE_LABEL = "ray.io/accelerator-type"
LABEL_VARIABLES = {
    "RAY_NODE_TYPE_NAME": "ray.io/node-group",
    "RAY_NODE_MARKET_TYPE": "ray.io/market-type",
    "RAY_NODE_REGION": "ray.io/availability-region",
    "RAY_NODE_ZONE": "ray.io/availability-zone",
}
"""Variables that a cluster's launcher sets on its machines, and the labels that they become."""

_MODEL = re.compile(r"Model:\s+\S+\s+([A-Z0-9]+)(?![A-Za-z0-9])")


def gpu_type(folder: str = NVIDIA_FOLDER) -> str | None:
    """The type of the first GPU that the NVIDIA driver shows, like "A100"; None where it can't be told."""
    try:
        first = min(os.listdir(folder))
        with open(os.path.join(folder, first, "information")) as file:
            found = _MODEL.search(file.read())
    except (OSError, ValueError):
        return None
    return found.group(1) if found else None


def node_labels(node_id: str, accelerator_type: str | None, given: Mapping[str, str]) -> dict[str, str]:
    """All labels of a node. Warns where one that is ``given`` replaces one that was found."""
    found = {label: os.environ[name] for name, label in LABEL_VARIABLES.items() if os.environ.get(name)}
    if accelerator_type:
        found[ACCELERATOR_TYPE_LABEL] = accelerator_type
    for key, value in found.items():
        if given.get(key, value) != value:
            warnings.warn(f"the label {key}={given[key]!r} that was given replaces {value!r}", UserWarning, stacklevel=2)
    return {**found, **given, NODE_ID_LABEL: node_id}
