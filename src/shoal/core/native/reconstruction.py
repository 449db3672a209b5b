"""Computing lost values again: what the kernel's lineage answers, in Ray's words.

A process that finds the file of a spilled value missing asks the daemon (in inline mode: itself), which submits the task again,
and the tasks whose results that one needs and which are lost or gone, too.
"""

from __future__ import annotations

from shoal import _kernel

LOST = "lost"
"""Kind of the Failure whose message is one of the reasons below."""

# In the order of the kernel's enum Lost; the first: it is being computed.
_REASONS = (
    "",
    "PUT",
    "GENERATOR_ITEM",
    "ACTOR_GONE",
    "RETRIES_DISABLED",
    "MAX_ATTEMPTS_EXCEEDED",
    "LINEAGE_EVICTED",
    "OWNER_DIED",
    "NO_ROOM",
)


def reconstruct(record: int, uid: int) -> str:
    """Has the value's task run again; why that can't be done (a reason of ObjectReconstructionFailedError), or "".

    For the process that schedules the node's work. Does not wait: whoever reads the value does."""
    return _REASONS[_kernel.reconstruct(record, uid)]
