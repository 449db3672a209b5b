"""What is trained: functions and classes."""

from shoal.tune.trainable.function_trainable import FunctionTrainable, wrap_function
from shoal.tune.trainable.trainable import Trainable
from shoal.tune.trainable.with_parameters import with_parameters, with_resources

__all__ = ["FunctionTrainable", "Trainable", "with_parameters", "with_resources", "wrap_function"]
