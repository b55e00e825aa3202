"""How Apache behaves."""

from __future__ import annotations

import re

from deployer.proxies.traits import LogSign, Traits

TRAITS = Traits(
    banner=re.compile(r"(?i)\b(apache|httpd)/\d"),
    own_page=re.compile(rb"<address>(Apache[^<]{0,80}?) Server at "),
    named_page=re.compile(rb"IETF//DTD HTML 2\.0//EN"),
    server_names=("apache",),
    page_name="Apache httpd",
    unknown_name=re.compile(rb"DNS lookup failure for: ([^<\s]{1,200})"),
    page_reason=re.compile(rb"Reason: <strong>([^<]{1,200})"),
    log_signs=(
        LogSign(text="scoreboard is full", code="scoreboard-full"),
        LogSign(text="reached MaxRequestWorkers", code="threads-exhausted"),
        LogSign(text="Too many open files", code="files-exhausted"),
    ),
    bind_error=r"AH00072: make_sock: could not bind to address (\S+)",
    reload_line=(
        r"AH00493|AH00494|SIGUSR1 received|Reloading (?:apache2|The Apache)|Reloading httpd"
    ),
    exit_line=r"AH00019|no listening sockets available|Main process exited",
    listen_line=r"^\s*Listen\s+(?:\S*:)?{port}\b",
    test_error=re.compile(
        r"Syntax error on line (?P<line>\d+) of (?P<file>[^:\n]+):\n?(?P<message>.*)"
    ),
    has_process_slots=True,
    keeps_server_header=True,
    upgrades_h2c=True,
    process_wide=re.compile(
        r"^\s*((?:MaxRequestWorkers|ServerLimit|ServerTokens|TraceEnable)\s+\S+)"
        r"|^ExecReload=-(\S+/apache-drain after \d+)",
        re.MULTILINE,
    ),
    stock_page=re.compile(
        rb"<title>(?:Apache2 (?:Debian|Ubuntu) Default Page|Test Page for the (?:Apache|HTTP))"
        rb"|<h1>It works!</h1>"
    ),
    has_dual_stack=True,
)
