"""The commands of deployer as Fabric tasks.

In a ``fabfile.py``::

    from deployer.tasks import ns

Then ``fab apply --playbook site.yml`` runs ``deployer apply site.yml --yes``. ``fab --list`` lists
all tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabric import task
from invoke.collection import Collection
from invoke.exceptions import Exit

_HELP = {
    "playbook": "The playbook; default: site.yml.",
    "inventory": "The inventory; default: inventory.yml next to the playbook.",
    "limit": "Limit the run to hosts matching PATTERN.",
    "extra-vars": "key=value, YAML, JSON or @file.",
}


def _run(command: str, playbook: str, *options: str, **given: str | None) -> None:
    """Run a command of deployer; its exit code becomes the task's."""
    from deployer.cli.main import run

    arguments: list[str] = [command, playbook, *options]
    for name, value in given.items():
        if value is not None:
            arguments += [f"--{name.replace('_', '-')}", value]
    code = run(arguments)
    if code:
        raise Exit(code=code)


def _command(name: str, words: str, command: str, options: Sequence[str] = ()) -> object:
    """A task for one command, with the options that all of them share."""

    def body(
        c: object,
        playbook: str = "site.yml",
        inventory: str | None = None,
        limit: str | None = None,
        extra_vars: str | None = None,
    ) -> None:
        _run(command, playbook, *options, inventory=inventory, limit=limit, extra_vars=extra_vars)

    body.__name__ = name
    body.__doc__ = words
    return task(name=name.replace("_", "-"), help=_HELP)(body)


plan = _command("plan", "Show what an apply would change, and change nothing.", "plan")
apply = _command(
    "apply", "Apply, verify with real handshakes, confirm or roll back.", "apply", ["--yes"]
)
install_proxy = _command(
    "install_proxy",
    "Install the proxies that the sites need.",
    "apply",
    ["--yes", "--tags", "install"],
)
obtain_certificates = _command(
    "obtain_certificates",
    "Install the sites' certificates.",
    "apply",
    ["--yes", "--tags", "certificates"],
)
write_sites = _command(
    "write_sites",
    "Write the sites' configuration, reload the proxy and verify.",
    "apply",
    ["--yes", "--tags", "sites"],
)
reload = _command("reload", "Test the proxies' configuration and reload them.", "reload", ["--yes"])
verify = _command("verify", "Check the running services with real handshakes.", "verify")
history = _command("history", "Show what was applied on each host, newest first.", "history")
recover = _command("recover", "Roll back what an interrupted run left.", "recover")


@task(help={**_HELP, "to": "A generation of the history; default: the one before the last."})  # type: ignore[untyped-decorator]
def rollback(
    c: object,
    playbook: str = "site.yml",
    inventory: str | None = None,
    limit: str | None = None,
    extra_vars: str | None = None,
    to: str | None = None,
) -> None:
    """Return to an earlier confirmed generation, and verify it."""
    _run(
        "rollback",
        playbook,
        "--yes",
        inventory=inventory,
        limit=limit,
        extra_vars=extra_vars,
        to=to,
    )


ns = Collection(
    plan,
    apply,
    install_proxy,
    obtain_certificates,
    write_sites,
    reload,
    verify,
    history,
    recover,
    rollback,
)
