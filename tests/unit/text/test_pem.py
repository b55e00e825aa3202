"""PEM blocks in plans are one line each."""

from __future__ import annotations

import re

from deployer.certificates.internal_ca.authority import ephemeral
from deployer.text.pem import summarized


def test_a_certificate_is_shown_by_what_identifies_it() -> None:
    chain = ephemeral(("chat.example.com",)).fullchain_pem.decode()
    shown = summarized(f"# before\n{chain}# after\n")
    lines = shown.splitlines()
    assert (lines[0], lines[-1]) == ("# before", "# after")
    assert "BEGIN" not in shown
    leaf = (
        r"certificate: subject .*chat\.example\.com.*, issuer CN=.+, "
        r"not after \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ, SHA-256 [0-9a-f]{16}…"
    )
    assert re.fullmatch(leaf, lines[1])


def test_other_blocks_are_shown_by_label_and_fingerprint() -> None:
    block = "-----BEGIN DH PARAMETERS-----\nMIIBCAKCAQEA\n-----END DH PARAMETERS-----\n"
    assert re.fullmatch(r"DH PARAMETERS: \d+ bytes, SHA-256 .+…\n", summarized(block))
    broken = block.replace("DH PARAMETERS", "CERTIFICATE")
    assert summarized(broken).startswith("CERTIFICATE: ")


def test_text_without_blocks_is_unchanged() -> None:
    assert summarized("-----BEGIN nothing\n") == "-----BEGIN nothing\n"
