"""What is wrong with a WebSocket that anybody may have deployed, seen from here.

    address.py        what a person typed → which requests those are (pure)
    handshake_variants.py  Address → the probes, each different in one thing (pure)
    outside.py        probes → Observations: names, connections, answers
    fingerprints.py   whose words an answer is in, and what they give away (pure)
    pages.py, csp.py  a page → the WebSockets that it opens, and what forbids it to (pure)
    reason*.py        Observations → CheckResults with findings (pure)

From outside, many causes look alike. A finding has a specific code only where the answers rule the
others out; otherwise a general one, with what else it can be and how to tell.
"""
