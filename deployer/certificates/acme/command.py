"""certbot's command line for one certificate, without secrets."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from pathlib import Path

from deployer.agent.certificates.certbot import command as certbot_command
from deployer.agent.certificates.certbot.command import dns_words, is_address, words_of_order
from deployer.certificates.acme.answers import Answers
from deployer.certificates.acme.store import Settings, lineage_of
from deployer.errors import UsageError

#: certbot is one of our dependencies: it runs with our interpreter, regardless of `PATH`. ``-P``
#: keeps it from importing modules from the working folder.
CERTBOT = (
    sys.executable,
    "-P",
    "-c",
    "import sys; from certbot.main import main; sys.exit(main())",
)

_KNOWS_ADDRESSES = (5, 4)  # its changelog
_PLUGIN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def certbot_argv(
    settings: Settings, *, folder: Path, config: Path, is_rehearsal: bool = False
) -> list[str]:
    """certbot's arguments for an order of `settings` now, even if it has a certificate already.

    Args:
        folder: for its own files.
        config: a file in the format of its ``cli.ini``, for secrets.
        is_rehearsal: keep nothing (``--dry-run``).

    Raises:
        UsageError: it is too old for the settings, or its plugin for the DNS provider is missing.
    """
    if any(map(is_address, settings["names"])):
        require_version(_KNOWS_ADDRESSES, "certificates for IP addresses")
    argv = [*CERTBOT, "certonly", "--config", str(config), "--no-autorenew"]
    for option, name in (("config", "config"), ("work", "work"), ("logs", "logs")):
        argv += [f"--{option}-dir", str(folder / name)]
    argv += _authenticator(settings)
    return argv + words_of_order(dict(settings), name=lineage_of(settings), dry_run=is_rehearsal)


def require_version(wanted: tuple[int, int], what: str) -> None:
    """Raises: UsageError: the installed certbot is older than `wanted`."""
    version = importlib.metadata.version("certbot")
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if found < wanted:
        raise UsageError(
            f"certbot {version} on this controller cannot order {what}; no host was touched",
            hint=f"Upgrade it: {sys.executable} -m pip install 'certbot>={wanted[0]}.{wanted[1]}'",
        )


def _authenticator(settings: Settings) -> list[str]:
    if settings["challenge"] == "http-01":
        argv = ["--manual", "--preferred-challenges", "http", "--disable-hook-validation"]
        argv += ["--manual-auth-hook", Answers.hook_command("answer")]
        return [*argv, "--manual-cleanup-hook", Answers.hook_command("forget")]
    require_plugin(settings["dns"]["plugin"])
    return dns_words(settings["dns"])


def require_plugin(plugin: str) -> None:
    """Raises: UsageError: the installed certbot has no such DNS plugin."""
    if not _PLUGIN.fullmatch(plugin):
        raise UsageError(f"{plugin!r} is not the name of a DNS plugin of certbot")
    names = importlib.metadata.entry_points(group="certbot.plugins").names
    if f"dns-{plugin}" in names:
        return
    there = sorted(name.removeprefix("dns-") for name in names if name.startswith("dns-"))
    has = f"It has: {', '.join(there)}. " if there else ""
    raise UsageError(
        f"certbot has no plugin {plugin} for DNS on this controller; no host was touched",
        hint=f"{has}Install the package certbot-dns-{plugin} from PyPI: "
        f"{sys.executable} -m pip install certbot-dns-{plugin}",
    )


def environment_for(settings: Settings, *, private: Path) -> dict[str, str]:
    """certbot's environment: the roots of a private CA, and AWS's configuration.

    Args:
        private: a folder used instead of the user's configuration of certbot.
    """
    environment = {**os.environ, "XDG_CONFIG_HOME": str(private), "PYTHONUNBUFFERED": "1"}
    environment.pop("PYTHONWARNINGS", None)
    return {**environment, **certbot_command.environment_for(dict(settings))}
