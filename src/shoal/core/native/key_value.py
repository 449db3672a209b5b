"""A small store of bytes by namespace and key, for whoever needs to leave a note on the node."""

from __future__ import annotations


class KeyValueStore:
    def __init__(self) -> None:
        self._values: dict[bytes, dict[bytes, bytes]] = {}

    def put(self, namespace: bytes, key: bytes, value: bytes, overwrite: bool) -> bool:
        """Whether the key existed; then the value is replaced only with ``overwrite``."""
        values = self._values.setdefault(namespace, {})
        existed = key in values
        if overwrite or not existed:
            values[key] = value
        return existed

    def get(self, namespace: bytes, key: bytes) -> bytes | None:
        return self._values.get(namespace, {}).get(key)

    def delete(self, namespace: bytes, key: bytes, by_prefix: bool) -> int:
        """How many keys went."""
        values = self._values.get(namespace, {})
        doomed = [name for name in values if name.startswith(key)] if by_prefix else [key] if key in values else []
        for name in doomed:
            del values[name]
        if not values:
            self._values.pop(namespace, None)
        return len(doomed)

    def list(self, namespace: bytes, prefix: bytes) -> list[bytes]:
        return [key for key in self._values.get(namespace, {}) if key.startswith(prefix)]

    def exists(self, namespace: bytes, key: bytes) -> bool:
        return key in self._values.get(namespace, {})
