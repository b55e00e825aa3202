"""The command line with which certbot is asked for one certificate, and nothing secret in it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from pathlib import Path

from deployer.acme.answers import Answers
from deployer.acme.store import Settings, lineage_of
from deployer.errors import UsageError

#: certbot is a dependency of ours: it runs with our interpreter, whatever `PATH` has. ``-P`` keeps
#: it from importing what happens to lie in the working folder.
CERTBOT = (
    sys.executable,
    "-P",
    "-c",
    "import sys; from certbot.main import main; sys.exit(main())",
)

_KEYS = {
    "ecdsa-p256": ["--key-type", "ecdsa", "--elliptic-curve", "secp256r1"],
    "ecdsa-p384": ["--key-type", "ecdsa", "--elliptic-curve", "secp384r1"],
    "rsa-2048": ["--key-type", "rsa", "--rsa-key-size", "2048"],
    "rsa-4096": ["--key-type", "rsa", "--rsa-key-size", "4096"],
}
_KNOWS_ADDRESSES = (5, 4)  # its changelog
_ADDRESS = re.compile(r"[0-9.]+|[0-9a-f:]*:[0-9a-f:.]*")
_PLUGIN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def certbot_argv(
    settings: Settings, *, folder: Path, config: Path, is_rehearsal: bool = False
) -> list[str]:
    """certbot's words for an order of `settings` now, whatever it has got already.

    Args:
        folder: where it keeps what is its own.
        config: a file in the form of its ``cli.ini``, for what is secret.
        is_rehearsal: nothing is kept of it (``--dry-run``).

    Raises:
        UsageError: it is too old for what is asked, or its plugin for the DNS provider is missing.
    """
    addresses = {name for name in settings["names"] if _ADDRESS.fullmatch(name)}
    if addresses:
        require_version(_KNOWS_ADDRESSES, "certificates for IP addresses")
    argv = [*CERTBOT, "certonly", "--non-interactive", "--agree-tos", "--config", str(config)]
    for option, name in (("config", "config"), ("work", "work"), ("logs", "logs")):
        argv += [f"--{option}-dir", str(folder / name)]
    argv += ["--max-log-backups", "20", "--no-directory-hooks", "--no-autorenew"]
    argv += ["--server", settings["directory"], "--cert-name", lineage_of(settings)]
    argv += _KEYS[settings["key_type"]]
    if settings.get("email"):
        argv += ["--email", settings["email"], "--no-eff-email"]
    else:
        argv += ["--register-unsafely-without-email"]
    if settings.get("profile"):
        argv += ["--required-profile", settings["profile"]]
    argv += ["--dry-run"] if is_rehearsal else ["--force-renewal", "--renew-with-new-domains"]
    argv += _authenticator(settings)
    for name in settings["names"]:
        argv += ["--ip-address" if name in addresses else "--domain", name]
    return argv


def require_version(wanted: tuple[int, int], what: str) -> None:
    """Raises: UsageError: certbot, as it is installed beside us, is older than `wanted`."""
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
    dns = settings["dns"]
    plugin = dns["plugin"]
    require_plugin(plugin)
    argv = ["--authenticator", f"dns-{plugin}", "--preferred-challenges", "dns"]
    if plugin != "route53":  # which reads the configuration of AWS
        argv += [f"--dns-{plugin}-credentials", dns["credentials"]]
        argv += [f"--dns-{plugin}-propagation-seconds", str(dns["propagation_s"])]
    return argv


def require_plugin(plugin: str) -> None:
    """Raises: UsageError: certbot, as it is installed beside us, has no such DNS plugin."""
    if not _PLUGIN.fullmatch(plugin):
        raise UsageError(f"{plugin!r} is not the name of a DNS plugin of certbot")
    names = importlib.metadata.entry_points(group="certbot.plugins").names
    if f"dns-{plugin}" in names:
        return
    there = sorted(name.removeprefix("dns-") for name in names if name.startswith("dns-"))
    has = f"It has: {', '.join(there)}. " if there else ""
    raise UsageError(
        f"certbot has no plugin {plugin} for DNS on this controller; no host was touched",
        hint=f"{has}Install the package certbot-dns-{plugin} from PyPI beside deployer: "
        f"{sys.executable} -m pip install certbot-dns-{plugin}",
    )


def environment_for(settings: Settings, *, private: Path) -> dict[str, str]:
    """What certbot finds around it: the roots of a CA of one's own, and AWS's configuration.

    Args:
        private: a folder that takes the place of the user's own configuration of certbot.
    """
    environment = {**os.environ, "XDG_CONFIG_HOME": str(private), "PYTHONUNBUFFERED": "1"}
    environment.pop("PYTHONWARNINGS", None)
    if settings.get("ca_bundle"):
        environment["REQUESTS_CA_BUNDLE"] = str(settings["ca_bundle"])
    dns = settings.get("dns") or {}
    if dns.get("plugin") == "route53" and dns.get("credentials"):
        environment["AWS_CONFIG_FILE"] = str(dns["credentials"])
    return environment


def secret_lines(settings: Settings) -> str:
    """The external account binding as lines of certbot's own configuration; empty without one."""
    eab = settings.get("eab")
    return f"eab-kid = {eab['kid']}\neab-hmac-key = {eab['hmac_key']}\n" if eab else ""
