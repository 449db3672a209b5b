"""Objects: values in shared memory. Every process of the machine reads the same bytes; nobody can change them."""

from __future__ import annotations

import numpy as np

import shoal


@shoal.remote
def column_mean(matrix: np.ndarray, column: int) -> float:
    return float(matrix[:, column].mean())


@shoal.remote
def is_view(matrix: np.ndarray) -> bool:
    return not matrix.flags.owndata and not matrix.flags.writeable


@shoal.remote
def keep(box: dict[str, shoal.ObjectRef]) -> float:
    # A reference inside a container stays a reference: it is fetched when it is needed, or never.
    return float(shoal.get(box["matrix"]).sum())


def main() -> None:
    matrix = shoal.put(np.arange(4_000_000, dtype=np.float64).reshape(1_000_000, 4))
    print("means:", shoal.get([column_mean.remote(matrix, column) for column in range(4)]))
    print("tasks read it in place:", shoal.get(is_view.remote(matrix)))
    print("sum through a nested reference:", shoal.get(keep.remote({"matrix": matrix})))
    try:
        shoal.get(matrix)[0, 0] = 1.0
    except ValueError as error:
        print("it cannot be changed:", error)


if __name__ == "__main__":
    with shoal.init():
        main()
