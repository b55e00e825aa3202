"""Settings of sites that are mappings."""

from __future__ import annotations

from deployer.playbook.schema.models import Strict, field
from deployer.playbook.schema.types import Line


class MaintenanceModel(Strict):
    """Answer 503 with a page of your own; open WebSockets stay."""

    page: Line = field(description="An HTML file in UTF-8, relative to the playbook.")
