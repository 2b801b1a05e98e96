"""One root seed, many independent streams."""

from __future__ import annotations

import hashlib


def derived_seed(*parts: int | str) -> int:
    """63 bits that depend on every part: the seed of a stream, such as (seed, "pool", "night")."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
