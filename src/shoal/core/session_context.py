"""What ``init()`` returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

RAY_VERSION = "2.60.0"
"""The version of Ray whose public API Shoal has; programs ask for it."""


class RayContext(Mapping[str, Any]):
    """The running session: ``with init() as context:`` ends it at the block's end. Also a mapping, of ``address_info``."""

    def __init__(self, address_info: dict[str, Any], disconnect: Callable[[], None]) -> None:
        import platform  # while the first worker starts

        self.address_info = address_info
        self.dashboard_url: str | None = address_info.get("webui_url") or ""
        self.python_version = platform.python_version()
        self.ray_version = RAY_VERSION
        self.ray_commit = ""
        self._disconnect = disconnect

    def disconnect(self) -> None:
        """Ends the session, as ``shutdown()`` does."""
        self._disconnect()

    def __getitem__(self, key: str) -> Any:
        return self.address_info[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __len__(self) -> int:
        return len(self.address_info)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, exc_traceback: TracebackType | None
    ) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        return (
            f"RayContext(dashboard_url={self.dashboard_url!r}, python_version={self.python_version!r}, "
            f"ray_version={self.ray_version!r})"
        )
