"""joblib on actors: ``register_ray()``, then ``with joblib.parallel_backend("ray"): ...`` (scikit-learn included)."""

from __future__ import annotations


def register_ray() -> None:
    """Makes "ray" a backend of joblib. Raises ImportError when joblib is not installed. Starts nothing yet."""
    _register("ray")


def register_shoal() -> None:
    """The same backend under the name "shoal"."""
    _register("shoal")


def _register(name: str) -> None:
    # joblib is optional, and heavy to import.
    try:
        from joblib.parallel import register_parallel_backend
    except ImportError as error:
        raise ImportError("the joblib backend needs joblib: pip install joblib") from error
    from shoal.util.joblib.ray_backend import RayBackend

    register_parallel_backend(name, RayBackend)


__all__ = ["register_ray", "register_shoal"]
