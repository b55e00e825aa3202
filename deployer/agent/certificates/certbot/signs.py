"""Patterns in certbot's own messages that show a cause, if no CA has answered with one."""

from __future__ import annotations

#: The most specific first: a pattern, the kind, and a message, in which {0} is the first group.
SIGNS = (
    (
        r"Another instance of Certbot is already running",
        "lock",
        "another certbot is at work: try again when it has ended",
    ),
    (
        (
            r"(?m)^((?:Encountered error|Error (?:determining|communicating|finding|adding)|"
            r"Received response from server:|Unable to determine (?:base domain|zone))[^\n]*?)"
            r"[:.]? *$"
        ),
        "plugin",
        (
            "the DNS plugin could not make its record: {0}; see that the server, the zone and the "
            "rights of its credentials are right"
        ),
    ),
    (
        r"(The configured target DNS server \(\S+\) is not a valid IPv4 or IPv6 address)",
        "plugin",
        "{0}: give its address in the file in `dns:`",
    ),
    (
        r"binascii\.Error|Incorrect padding",
        "plugin",
        "the secret in the DNS plugin's credentials is not in base64, as it must be",
    ),
    (
        r"File not found: (\S+)",
        "plugin",
        "the file {0} is not there: see `credentials:` in `dns:`",
    ),
    (
        r"Could not bind TCP port|Problem binding to port|Could not bind to IPv4 or IPv6",
        "port-in-use",
        (
            "something else listens on port {port}, where certbot answers challenges: stop that, "
            "or let it listen elsewhere"
        ),
    ),
    (
        r"certificate is not yet valid",
        "clock",
        (
            "the certificate of {directory} is not valid yet by the clock here, which says "
            "{clock}: set the clock"
        ),
    ),
    (
        r"certificate has expired",
        "clock",
        (
            "the certificate of {directory} has expired by the clock here, which says {clock}: set "
            "the clock if that is wrong; otherwise the CA must fix it"
        ),
    ),
    (
        r"(?:hostname|IP address) mismatch|CertificateError|hostname '.*' doesn't match",
        "tls",
        (
            "what answers at {directory} shows a certificate for another name: does its name lead "
            "to the CA?"
        ),
    ),
    (
        r"Could not find a suitable TLS CA certificate bundle, invalid path: (\S+)",
        "tls",
        "the file with the CA's roots, {0}, is not there: see `ca_bundle:`",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed",
        "tls",
        (
            "the certificate of {directory} is not trusted here: its root must be in "
            "`ca_bundle:`, or in the system's trust store"
        ),
    ),
    (
        r"SSLError.*?(\[SSL[^\]]*\] [a-z0-9 ]+|$)",
        "tls",
        "what answers at {directory} does not speak TLS as it should {0}",
    ),
    (
        r"NameResolutionError|Name or service not known|[Nn]ame resolution|Name does not resolve",
        "directory-down",
        "the name in {directory} does not resolve here: is it right, and does DNS work?",
    ),
    (
        r"Connection refused",
        "directory-down",
        "nothing listens at {directory} (connection refused): try again when the CA is back",
    ),
    (
        r"[Tt]imed out|TimeoutError|Timeout\b",
        "timeout",
        "{directory} does not answer in time: the CA is down, or a firewall is between",
    ),
    (
        r"Max retries exceeded|Connection aborted|Connection reset|Failed to establish",
        "directory-down",
        "{directory} cannot be reached from here",
    ),
    (
        r"Unexpected response Content-Type: (\S+)",
        "directory-down",
        "what answers at {directory} is no ACME directory ({0}): see `directory:`",
    ),
    (
        r"requires external account binding|--eab-kid and --eab-hmac-key",
        "eab",
        (
            "the CA serves only accounts that are bound to one of its customers: give "
            "`eab: {{kid: …, hmac_key: …}}` next to its directory"
        ),
    ),
    (
        r"The ACME server believes (\S+) is an invalid email",
        "email",
        "the CA refuses the e-mail address {0}: correct `email:` in the playbook",
    ),
    (
        r"unrecognized arguments: --(?:required|preferred)-profile",
        "profile",
        "this certbot is too old for `profile:`: it needs 4.0 or newer",
    ),
    (
        r"unrecognized arguments: --(dns-[a-z0-9]+)",
        "plugin",
        "this certbot has no plugin {0}: install certbot-{0}, of the kind of certbot itself",
    ),
    (
        r"unrecognized arguments: --ip-address",
        "rejected-identifier",
        "this certbot is too old for certificates of addresses: it needs 5.4 or newer",
    ),
    (
        r"unrecognized arguments: (--\S+)",
        "unknown",
        "this certbot does not know {0}: it is older than it should be",
    ),
    (
        r"The requested (\S+) plugin does not appear to be installed",
        "plugin",
        "this certbot has no plugin {0}: install certbot-{0}, of the kind of certbot itself",
    ),
    (
        r"Missing propert\w+ in credentials configuration file (\S+?):\s+\* Property \"(\S+)\"",
        "plugin",
        "the DNS plugin's credentials lack {1}: add it to the file in `dns:`",
    ),
    (
        r"does not support any combination of challenges",
        "plugin",
        (
            "the CA offers no challenge of this kind for these names: a wildcard needs "
            "`challenge: dns-01`"
        ),
    ),
    (
        r"Requested name (\S+) is an IP address",
        "rejected-identifier",
        "this certbot is too old for certificates of addresses such as {0}",
    ),
    (
        r"Requested (?:domain|name) (\S+) is not a FQDN because (.+)",
        "rejected-identifier",
        "{0} is no name for a certificate: {1}",
    ),
)
