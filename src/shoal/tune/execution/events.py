"""What the controller is told, and what it tells its shell to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shoal.tune.checkpoint import Checkpoint
from shoal.tune.experiment.trial import Trial


# -- events
@dataclass
class TrialReported:
    """A trial has reported; ``checkpoint`` lies among the trial's files already."""

    trial_id: str
    result: dict[str, Any]
    checkpoint: Checkpoint | None = None


@dataclass
class TrialEnded:
    """The function of a trial has returned."""

    trial_id: str


@dataclass
class TrialFailed:
    """A trial's code, or its process, has failed."""

    trial_id: str
    error: BaseException
    text: str
    preempted: bool = False
    restoring: bool = False


@dataclass
class TrialSaved:
    """The checkpoint that ``Save`` asked for is stored."""

    trial_id: str
    checkpoint: Checkpoint


@dataclass
class TimePassed:
    """A stopping rule may have become true by the clock."""


@dataclass
class StopRequested:
    """Nothing is to run any more."""

    reason: str


Event = TrialReported | TrialEnded | TrialFailed | TrialSaved | TimePassed | StopRequested


# -- instructions
@dataclass
class Start:
    """Start a process for the trial, from ``checkpoint`` if there is one, and ask it for its first results."""

    trial: Trial
    checkpoint: Checkpoint | None
    counters: dict[str, Any] | None
    lockstep: bool


@dataclass
class Continue:
    """Ask the trial for its next results."""

    trial: Trial


@dataclass
class Save:
    """Ask the trial for a checkpoint called ``name``."""

    trial: Trial
    name: str


@dataclass
class Release:
    """End the trial's process; ``gracefully`` lets it clean up."""

    trial: Trial
    gracefully: bool


@dataclass
class Copy:
    """Copy the checkpoint ``source`` to the trial's folder as ``name``."""

    trial: Trial
    source: Checkpoint
    name: str


@dataclass
class Delete:
    """Delete a checkpoint of the trial."""

    trial: Trial
    checkpoint: Checkpoint


@dataclass
class Notify:
    """Call a hook of the callbacks."""

    hook: str
    trial: Trial
    more: dict[str, Any] = field(default_factory=dict)


@dataclass
class Record:
    """Append to the experiment's log."""

    kind: str
    trial: Trial
    fields: dict[str, Any] = field(default_factory=dict)


Instruction = Start | Continue | Save | Release | Copy | Delete | Notify | Record
