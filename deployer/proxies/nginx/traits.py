"""How nginx behaves."""

from __future__ import annotations

import re

from deployer.proxies.traits import Drain, LogSign, Traits

TRAITS = Traits(
    banner=re.compile(r"(?i)\b(nginx|openresty|angie|tengine)/\d"),
    own_page=re.compile(
        rb"<center>((?:nginx|openresty|tengine|angie|freenginx)[^<]{0,40})</center>"
    ),
    server_names=("nginx", "openresty"),
    worker_title="worker process",
    line_end=";",
    log_signs=(
        LogSign(text="worker_connections are not enough", code="connections-exhausted"),
        LogSign(text="Too many open files", code="files-exhausted"),
        LogSign(
            text="limiting connections by zone",
            code="connections-exhausted",
            client_fix="Raise limit_conn of that zone, or run the load from several machines.",
        ),
        LogSign(
            text="limiting requests, excess",
            code="connections-exhausted",
            client_fix="Raise limit_req of that zone, or give a lower --rate.",
        ),
    ),
    bind_error=r"\[emerg\].* bind\(\) to (\S+) failed",
    listen_line=r"^[^#\n]*\blisten\s+(?:\S*:)?{port}\b",
    drain=Drain(pattern=r"^[^#\n]*?\bworker_shutdown_timeout\s+(\d+)(ms|s|m|h|d)?\s*;", unit="s"),
    counts_websockets=False,
    process_wide=re.compile(r"^\s*(worker_shutdown_timeout\s+[^;\n]+);", re.MULTILINE),
    stock_page=re.compile(rb"<title>(?:Welcome to nginx|Test Page for the nginx)"),
)
