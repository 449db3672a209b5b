"""Where programs for Ray find the callback that hands the results of a distributed trainer to Tune."""

from __future__ import annotations

from typing import Any


class TuneReportCallback:
    """Belongs to the trainers of ``ray.train``, which shoal does not have: raises NotImplementedError that says what to do."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        raise NotImplementedError(
            "shoal.tune.integration.ray_train.TuneReportCallback hands on the results of a ray.train trainer, which "
            "shoal.train does not have: train inside of the trainable and call tune.report there"
        )
