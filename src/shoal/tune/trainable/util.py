"""Where Ray's programs look for ``with_parameters`` and ``with_resources``."""

from shoal.tune.trainable.with_parameters import with_parameters, with_resources

__all__ = ["with_parameters", "with_resources"]
