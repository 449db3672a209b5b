"""How many results a class trainable makes before the run looks at them (``TUNE_RESULT_BUFFER_LENGTH``)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from shoal.tune.experiment.trial import Trial
from shoal.tune.result import TRAINING_ITERATION


@dataclass(frozen=True)
class ResultBuffer:
    """Up to ``length`` results in one answer, or as many as fit into a time: a tenth of a second for each running trial, but
    between ``time_min_s`` and ``time_max_s``. A trial that is stopped may have made some steps that nobody looks at.

    1 by default: each result is looked at before the next step. Trials with a checkpoint at their end have no buffer, since the
    checkpoint would be of a later step; of others a checkpoint that is due ends the buffer.
    """

    length: int = 1
    time_min_s: float = 0.0
    time_max_s: float = 100.0

    @classmethod
    def of_environment(cls) -> ResultBuffer:
        """As TUNE_RESULT_BUFFER_LENGTH, TUNE_RESULT_BUFFER_MIN_TIME_S and TUNE_RESULT_BUFFER_MAX_TIME_S say; raises ValueError
        for what is no number."""
        return cls(
            int(os.environ.get("TUNE_RESULT_BUFFER_LENGTH", "1")),
            float(os.environ.get("TUNE_RESULT_BUFFER_MIN_TIME_S", "0")),
            float(os.environ.get("TUNE_RESULT_BUFFER_MAX_TIME_S", "100")),
        )

    def limits(self, trial: Trial, running: int) -> tuple[int, float]:
        """The most results of the next answer of ``trial``, and after how many seconds it comes with fewer (at least one)."""
        if self.length <= 1 or trial.is_function or trial.checkpoint_config.checkpoint_at_end:
            return 1, 0.0
        length = self.length
        frequency = trial.checkpoint_config.checkpoint_frequency
        if frequency:
            length = min(length, frequency - trial.last_result.get(TRAINING_ITERATION, 0) % frequency)
        return length, max(self.time_min_s, min(self.time_max_s, running / 10))
