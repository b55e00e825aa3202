"""Prints the address of the first host of a lab, from ``deployer lab status --json``."""

from __future__ import annotations

import json
import sys

labs = json.load(sys.stdin)["labs"]
(hosts,) = [lab["hosts"] for lab in labs if lab["name"] == sys.argv[1]]
print(hosts[0]["address"])
