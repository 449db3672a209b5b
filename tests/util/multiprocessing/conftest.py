from __future__ import annotations

from collections.abc import Iterator

import pytest

import shoal
from shoal.util.multiprocessing import Pool


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Four processes on a local node, shared by the tests of a file."""
    shoal.init(num_cpus=4)
    with Pool(4) as started:
        yield started
    started.join()
    shoal.shutdown()
