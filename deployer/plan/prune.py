"""What a run removes of what is no longer in its playbook."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """Everything that is left over, and also packages and certificates."""

    everything: bool = False
    packages: bool = False
    certificates: bool = False
