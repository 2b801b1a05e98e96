"""The stores of the tracking tests."""

from tests.tracking.conftest import migrated, new_store, store

__all__ = ["migrated", "new_store", "store"]
