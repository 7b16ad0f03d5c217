"""The task on sandboxes: those that nobody needs leave the store and the database."""

from __future__ import annotations

from rest_backend.sandbox_store.cleaning import clean_sandboxes
from rest_backend.tasks.turn import Turn


async def clean_unneeded_sandboxes(turn: Turn) -> int:
    """Sandboxes that no job needs any more are removed with their files, and what is left of uploads."""
    store = turn.resources.sandboxes
    if store is None:
        return 0
    cleaned = await clean_sandboxes(turn, store, turn.resources.settings.sandboxes.storage_element)
    return cleaned.sandboxes + cleaned.uploads
