"""How HAProxy behaves."""

from __future__ import annotations

import re

from deployer.proxies.traits import Drain, LogSign, Traits

TRAITS = Traits(
    banner=re.compile(r"(?i)\bhaproxy[/ ]\d"),
    own_page=re.compile(rb"\A<html><body><h1>\d{3} [A-Z][\w -]+</h1>\n"),
    page_name="HAProxy",
    log_signs=(
        LogSign(text="reached process FD limit", code="files-exhausted"),
        LogSign(text="Too many open files", code="files-exhausted"),
    ),
    bind_error=r"\[ALERT\].*cannot bind socket.*?\[([^\]\s]+)\]\.?$",
    listen_line=r"^\s*bind\s+\S*:{port}\b",
    test_error=re.compile(
        r"\[ALERT\].*?(?:parsing )?\[(?P<file>[^\]:]+):(?P<line>\d+)\] ?: ?(?P<message>.*)"
    ),
    drain=Drain(pattern=r"^\s*hard-stop-after\s+(\d+)(ms|s|m|h|d)?[ \t]*(?:#.*)?$", unit="ms"),
    sends_server_header=False,
    has_plain_http_page=False,
    longest_page_bytes=14_000,  # headers and page must fit into a buffer of 16 KiB
    process_wide=re.compile(r"^\s+((?:hard-stop-after|maxconn|lua-load)\s+\S+)", re.MULTILINE),
)
