"""certbot's command line for one certificate, without secrets."""

from __future__ import annotations

import hashlib
import os
import re
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Json = dict[str, Any]

#: How often certbot is restarted if the CA does not accept its own nonces; certbot sends each
#: request twice at most, and a dozen have to succeed (RFC 8555, section 6.5).
NONCE_TRIES = 5
#: For a first order without cost.
STAGING = {
    "https://acme-v02.api.letsencrypt.org/directory": (
        "https://acme-staging-v02.api.letsencrypt.org/directory"
    )
}
_KEYS = {
    "ecdsa-p256": ["--key-type", "ecdsa", "--elliptic-curve", "secp256r1"],
    "ecdsa-p384": ["--key-type", "ecdsa", "--elliptic-curve", "secp384r1"],
    "rsa-2048": ["--key-type", "rsa", "--rsa-key-size", "2048"],
    "rsa-4096": ["--key-type", "rsa", "--rsa-key-size", "4096"],
}
_IP_ADDRESS = re.compile(r"[0-9.]+|[0-9a-f:]*:[0-9a-f:.]*")


def certbot_name(settings: Json) -> str:
    """certbot's name for the certificate; it is different for each CA."""
    digest = hashlib.sha256(settings["directory"].encode()).hexdigest()[:8]
    domain = str(settings["domain"]).replace("*", "wildcard").replace(":", "-")
    return f"{domain}-{digest}"


def set_accounts_aside(folder: str, directory: str) -> bool:
    """Make certbot create a new account at `directory`; the former one is set aside.

    `folder` is that of `certbot_argv`. Test systems forget accounts, and a reinstalled CA has none.
    """
    accounts = os.path.join(folder, "config", "accounts", *directory.partition("://")[2].split("/"))
    if not os.path.isdir(accounts):
        return False
    aside = os.path.join(folder, "former-accounts")
    if not os.path.isdir(aside):
        os.mkdir(aside, 0o700)
    host = directory.partition("://")[2].partition("/")[0]
    os.rename(accounts, os.path.join(aside, f"{host}-{time.time_ns()}"))
    return True


def rehearsal_of(settings: Json, staging: str, *, offered: Iterable[str]) -> Json:
    """`settings` for a rehearsal with the CA's test system, which has the profiles `offered`.

    The profile is kept if possible: Let's Encrypt certifies addresses with one of them only.
    """
    profile = settings.get("profile")
    return {
        **settings,
        "directory": staging,
        "issuer": "letsencrypt-staging",
        "profile": profile if profile in set(offered) else None,
    }


def certbot_argv(
    settings: Json, *, folder: str, logs: str, secrets_file: str | None, dry_run: bool = False
) -> list[str]:
    """certbot's arguments for an order of `settings`, even if it has a certificate already.

    `folder` is where it keeps its configuration; `secrets_file` is read as its own ``cli.ini``.
    """
    argv = [*settings["certbot"], "certonly"]
    argv += ["--config-dir", os.path.join(folder, "config")]
    argv += ["--work-dir", os.path.join(folder, "work"), "--logs-dir", logs]
    if secrets_file:
        argv += ["--config", secrets_file]
    argv += _authenticator(settings)
    return argv + words_of_order(settings, name=certbot_name(settings), dry_run=dry_run)


def words_of_order(settings: Json, *, name: str, dry_run: bool) -> list[str]:
    """The arguments that do not depend on where certbot runs: CA, names, and key.

    `name` is certbot's name for the certificate.
    """
    argv = ["--non-interactive", "--agree-tos", "--max-log-backups", "20", "--no-directory-hooks"]
    argv += ["--server", settings["directory"], "--cert-name", name]
    argv += _KEYS[settings["key_type"]]
    if settings.get("email"):
        argv += ["--email", settings["email"], "--no-eff-email"]
    else:
        argv += ["--register-unsafely-without-email"]
    if settings.get("profile"):
        argv += ["--required-profile", settings["profile"]]
    argv += ["--dry-run"] if dry_run else ["--force-renewal", "--renew-with-new-domains"]
    for each in settings["names"]:
        argv += ["--ip-address" if is_address(each) else "--domain", each]
    return argv


def is_address(name: str) -> bool:
    """Whether a name of a certificate is an IP address, for which certbot has a separate option."""
    return _IP_ADDRESS.fullmatch(name) is not None


def _authenticator(settings: Json) -> list[str]:
    if settings["challenge"] == "http-01":
        port = str(settings["challenge_port"])
        listen = ["--http-01-address", "127.0.0.1", "--http-01-port", port]
        return ["--standalone", "--preferred-challenges", "http", *listen]
    return dns_words(settings["dns"])


def dns_words(dns: Json) -> list[str]:
    """The DNS plugin and its arguments."""
    name = "dns-" + dns["plugin"]
    argv = ["--authenticator", name, "--preferred-challenges", "dns"]
    if dns["plugin"] != "route53":  # it reads the configuration of AWS
        argv += [f"--{name}-credentials", dns["credentials"]]
        argv += [f"--{name}-propagation-seconds", str(dns["propagation_s"])]
    return argv


def environment_for(settings: Json) -> dict[str, str]:
    """certbot's environment: the roots of a private CA, and AWS's configuration."""
    found = {}
    if settings.get("ca_bundle"):
        found["REQUESTS_CA_BUNDLE"] = str(settings["ca_bundle"])
    dns = settings.get("dns") or {}
    if dns.get("plugin") == "route53" and dns.get("credentials"):
        found["AWS_CONFIG_FILE"] = str(dns["credentials"])
    return found


def eab_lines(settings: Json) -> str:
    """The external account binding as lines of certbot's own configuration; empty without one."""
    eab = settings.get("eab")
    return f"eab-kid = {eab['kid']}\neab-hmac-key = {eab['hmac_key']}\n" if eab else ""
