"""Experiments and their trials."""

from shoal.tune.experiment.experiment import Experiment, _convert_to_experiment_list
from shoal.tune.experiment.trial import Trial

__all__ = ["Experiment", "Trial", "_convert_to_experiment_list"]
