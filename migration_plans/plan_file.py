"""The plan as its file has it now."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from migration_plans.plan import Catalogue, Plan, read_plan
from shared_db.followed_file import FollowedFile


class PlanFile(FollowedFile[Plan]):
    """Follows the administrators' file; a broken edit keeps the last good plan in force."""

    kind = "plan"
    setting = "plan"

    def __init__(self, path: Path, catalogue: Catalogue) -> None:
        super().__init__(path)
        self._catalogue = catalogue

    @property
    def current(self) -> Plan:
        """The plan in force."""
        return self.content

    def parse(self, text: str, status: os.stat_result) -> Plan:
        """The plan in a text.  Raises PlanError."""
        # The later one: a plan that was restored from a back-up is news, too.
        written = datetime.fromtimestamp(max(status.st_mtime, status.st_ctime), UTC)
        return replace(read_plan(text, str(self.path), self._catalogue), written=written)
