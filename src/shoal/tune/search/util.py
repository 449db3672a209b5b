"""The logger of the search algorithms, where Ray's programs look for it."""

import logging

logger = logging.getLogger(__name__)

__all__ = ["logger"]
