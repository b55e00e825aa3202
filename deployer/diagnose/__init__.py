"""Diagnose any WebSocket, regardless of who deployed it.

    address.py             parses the URL (pure)
    handshake_variants.py  builds probes that each differ in one thing (pure)
    outside.py             sends them from this machine: Observations
    url_checks.py          diagnoses a URL: a WebSocket, or a page with its WebSockets
    site_checks.py         diagnoses the sites of a playbook from outside
    page/                  the WebSockets that a page opens, and whether its policy allows them
    reasons/               Observations in, CheckResults with findings out (pure)
    host_diagnosis.py      connects to a host, and adds the view from inside
    stages.py, backend.py  the proxies that a request goes through, and their backends
    inside.py              probes each stage on the host
    merge.py               merges the results from outside and inside (pure)

From outside, many causes look alike. A finding has a specific code only if the responses rule out
all other causes; otherwise it has a general one, and lists the alternatives and how to check them.
"""
