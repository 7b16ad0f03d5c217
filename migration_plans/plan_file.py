"""The plan as its file has it now."""

from __future__ import annotations

import os
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

    def parse(self, text: str, status: os.stat_result) -> Plan:  # noqa: ARG002 - the text says it all
        """The plan in a text.  Raises PlanError."""
        return read_plan(text, str(self.path), self._catalogue)
