"""Whether Apache can load its configuration."""

from __future__ import annotations

from deployer.agent.proxies.apache.slots import config_of, refuse_full_scoreboard
from deployer.agent.proxies.readiness import Loading, refuse_taken


def check(loading: Loading) -> None:
    """Raises: StepError: an address is not free, or no process slot is."""
    config = config_of(loading)
    refuse_taken(loading, "Apache", config.addresses())
    if loading.is_reload:
        refuse_full_scoreboard(loading, config)
