"""``deployer lab``: up, down, status, ssh."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from deployer.errors import LabError

_DEFAULT_NAME = "lab"
_name = click.option("--name", default=_DEFAULT_NAME, show_default=True, help="The lab's name.")


@click.group()
def lab() -> None:
    """Disposable real hosts to rehearse on: Debian with systemd and sshd, on this machine."""


@lab.command()
@click.argument("count", default=1, type=click.IntRange(1, 200))
@click.option(
    "--image",
    "image_name",
    default="debian-12",
    show_default=True,
    metavar="IMAGE",
    help="debian-11, debian-12 or debian-13.",
)
@_name
@click.option(
    "--inventory",
    default="lab-inventory.yml",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the inventory.",
)
def up(count: int, *, image_name: str, name: str, inventory: Path) -> None:
    """Boot COUNT hosts and write an inventory of them."""
    from deployer.lab.lab import up as boot

    booted = boot(
        count,
        name=name,
        image_name=image_name,
        persistent=True,
        progress=lambda text: click.echo(text, err=True),
    )
    booted.write_inventory(inventory)
    for host in booted.hosts:
        click.echo(f"{host.name}  {host.address}  {image_name}")
    click.echo(f"wrote {inventory}; use it with -i {inventory}")


@lab.command()
@_name
@click.option("--all", "all_labs", is_flag=True, help="Every lab on this machine.")
def down(*, name: str, all_labs: bool) -> None:
    """Switch a lab off, and leave nothing behind."""
    from deployer.lab.lab import labs, named, sweep

    sweep()
    found = labs() if all_labs else [named(name)]
    for one in found:
        one.down()
        click.echo(f"{one.name} is down")
    if not found:
        click.echo("no lab is up")


@lab.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def status(*, as_json: bool) -> None:
    """List the labs and their hosts."""
    from deployer.lab.lab import labs

    found = labs()
    if as_json:
        document = {
            "format_version": 1,
            "command": "lab status",
            "exit_code": 0,
            "labs": [
                {
                    "name": one.name,
                    "image": one.image.name,
                    "hosts": [
                        {"name": host.name, "address": host.address, "running": host.is_running}
                        for host in one.hosts
                    ],
                }
                for one in found
            ],
        }
        click.echo(json.dumps(document, indent=2))
        return
    if not found:
        click.echo("no lab is up")
    for one in found:
        for host in one.hosts:
            state = "running" if host.is_running else "off"
            click.echo(f"{one.name}  {host.name}  {host.address}  {one.image.name}  {state}")


@lab.command(context_settings={"ignore_unknown_options": True})
@_name
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(*, name: str, host: str, command: tuple[str, ...]) -> None:
    """Log in on HOST as root, or run COMMAND there."""
    from deployer.lab.lab import named

    target = named(name).host(host)
    if not target.is_running:
        raise LabError(f"{host} is off.")
    os.execvp("ssh", [*target.ssh_command(), *command])  # noqa: S606
