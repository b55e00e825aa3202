"""``deployer lab``: disposable hosts on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from deployer.cli import options
from deployer.cli.command import Command, Group, Integer, option
from deployer.errors import LabError

_LAB = "Lab"
_DEFAULT_NAME = "lab"
_name = option(
    "--name",
    group=_LAB,
    metavar="NAME",
    default=_DEFAULT_NAME,
    show_default=True,
    help="Name of the lab.",
)


@click.group(
    cls=Group,
    examples=(
        ("Boot two hosts and deploy to them", "deployer lab up 2 --inventory inventory.yml"),
        ("Shut them down", "deployer lab down"),
    ),
)
def lab() -> None:
    """Boot disposable Debian hosts on this machine to rehearse on.

    They are real hosts, with systemd and sshd. This needs root and a Linux with systemd-nspawn.
    """


@lab.command(
    cls=Command,
    examples=(
        ("Boot three hosts", "deployer lab up 3"),
        ("Boot a host of another release", "deployer lab up --image debian-13 --name new"),
    ),
)
@click.argument("count", default=1, type=Integer(1, 200))
@option(
    "--image",
    "image_name",
    group=_LAB,
    default="debian-12",
    show_default=True,
    metavar="IMAGE",
    help="Boot this image: debian-11, debian-12 or debian-13.",
)
@option(
    "--package",
    "packages",
    group=_LAB,
    metavar="NAME",
    multiple=True,
    help="Make this Debian package installable on the hosts, which have no network; repeatable.",
)
@_name
@option(
    "--inventory",
    group=_LAB,
    metavar="FILE",
    default="lab-inventory.yml",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the inventory to FILE.",
)
def up(
    count: int, *, image_name: str, packages: tuple[str, ...], name: str, inventory: Path
) -> None:
    """Boot COUNT hosts and write their inventory.

    Most ready playbooks can be applied to them. Other packages are named by --package; the first
    start with them builds an image.
    """
    from deployer.lab.lab import up as boot

    booted = boot(
        count,
        name=name,
        image_name=image_name,
        packages=packages,
        persistent=True,
        progress=lambda text: click.echo(text, err=True),
    )
    booted.write_inventory(inventory)
    for host in booted.hosts:
        click.echo(f"{host.name}  {host.address}  {image_name}")
    click.echo(f"wrote {inventory}; use it with -i {inventory}")


@lab.command(
    cls=Command,
    examples=(
        ("Shut down the default lab", "deployer lab down"),
        ("Shut down every lab", "deployer lab down --all"),
    ),
)
@_name
@option("--all", "all_labs", group=_LAB, is_flag=True, help="Shut down every lab on this machine.")
def down(*, name: str, all_labs: bool) -> None:
    """Shut down a lab and remove everything that it created."""
    from deployer.lab.lab import labs, named, sweep

    sweep()
    found = labs() if all_labs else [named(name)]
    for one in found:
        one.down()
        click.echo(f"{one.name} is down")
    if not found:
        click.echo("no lab is up")


@lab.command(
    cls=Command,
    examples=(
        ("List labs and hosts", "deployer lab status"),
        ("List them as JSON", "deployer lab status --json"),
    ),
)
@options.as_json
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


@lab.command(
    cls=Command,
    context_settings={"ignore_unknown_options": True},
    examples=(
        ("Log in on a host", "deployer lab ssh lab1"),
        ("Run a command there", "deployer lab ssh lab1 systemctl --failed"),
    ),
)
@_name
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(*, name: str, host: str, command: tuple[str, ...]) -> None:
    """Log in to HOST as root, or run COMMAND there."""
    from deployer.lab.lab import named

    target = named(name).host(host)
    if not target.is_running:
        raise LabError(f"{host} is off.")
    os.execvp("ssh", [*target.ssh_command(), *command])  # noqa: S606 - ssh replaces this process
