"""What programs for earlier versions of Ray pass to tune.run."""

from __future__ import annotations

import pytest

from shoal import tune
from shoal.tune.former_arguments import with_former_arguments


def test_former_names_still_say_which_checkpoints_are_kept() -> None:
    former = {"keep_checkpoints_num": 2, "checkpoint_score_attr": "min-loss", "checkpoint_freq": 3, "checkpoint_at_end": True}
    with pytest.warns(DeprecationWarning, match=r"checkpoint_freq of tune.run is deprecated: use .*checkpoint_frequency="):
        taken = with_former_arguments(None, former)
    assert taken == tune.CheckpointConfig(2, "loss", "min", 3, True)
    with pytest.warns(DeprecationWarning):
        taken = with_former_arguments(tune.CheckpointConfig(num_to_keep=4), {"checkpoint_score_attr": "score"})
    assert taken == tune.CheckpointConfig(4, "score", "max")
    with pytest.warns(DeprecationWarning), pytest.raises(ValueError, match="num_to_keep must be an integer >= 1"):
        with_former_arguments(None, {"keep_checkpoints_num": 0})


def test_arguments_that_are_gone_or_unknown_are_refused() -> None:
    with pytest.raises(DeprecationWarning, match="takes no local_dir any more: use storage_path, but got local_dir='there'"):
        tune.run(print, local_dir="there")
    with pytest.raises(TypeError, match="tune.run takes no argument 'num_sample', but got num_sample=3"):
        tune.run(print, num_sample=3)
