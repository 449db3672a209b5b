"""Hyperparameter search: ``Tuner(trainable, param_space=...).fit()``, or ``tune.run(trainable, config=...)``."""

from __future__ import annotations

from shoal.tune.analysis import ExperimentAnalysis
from shoal.tune.callback import Callback
from shoal.tune.checkpoint import Checkpoint
from shoal.tune.error import TuneError
from shoal.tune.execution.placement_groups import PlacementGroupFactory
from shoal.tune.experiment import Experiment
from shoal.tune.progress_reporter import CLIReporter, JupyterNotebookReporter, ProgressReporter
from shoal.tune.registry import register_env, register_trainable
from shoal.tune.result_grid import Result, ResultGrid
from shoal.tune.run_config import CheckpointConfig, FailureConfig, ResumeConfig, RunConfig, SyncConfig, TuneConfig
from shoal.tune.schedulers import create_scheduler
from shoal.tune.search import create_searcher
from shoal.tune.search.sample import (
    choice,
    lograndint,
    loguniform,
    qlograndint,
    qloguniform,
    qrandint,
    qrandn,
    quniform,
    randint,
    randn,
    sample_from,
    uniform,
)
from shoal.tune.search.variant_generator import grid_search
from shoal.tune.stopper import Stopper
from shoal.tune.trainable import Trainable, with_parameters, with_resources
from shoal.tune.trainable.session import TrialContext as TuneContext
from shoal.tune.trainable.session import get_checkpoint, get_context, report
from shoal.tune.tune import run, run_experiments
from shoal.tune.tuner import Tuner

__all__ = [
    "CLIReporter",
    "Callback",
    "Checkpoint",
    "CheckpointConfig",
    "Experiment",
    "ExperimentAnalysis",
    "FailureConfig",
    "JupyterNotebookReporter",
    "PlacementGroupFactory",
    "ProgressReporter",
    "Result",
    "ResultGrid",
    "ResumeConfig",
    "RunConfig",
    "Stopper",
    "SyncConfig",
    "Trainable",
    "TuneConfig",
    "TuneContext",
    "TuneError",
    "Tuner",
    "choice",
    "create_scheduler",
    "create_searcher",
    "get_checkpoint",
    "get_context",
    "grid_search",
    "lograndint",
    "loguniform",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "register_env",
    "register_trainable",
    "report",
    "run",
    "run_experiments",
    "sample_from",
    "uniform",
    "with_parameters",
    "with_resources",
]
