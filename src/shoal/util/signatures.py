"""What functions of the user accept."""

from __future__ import annotations

from shoal.core.signatures import signature_of

__all__ = ["signature_of"]
