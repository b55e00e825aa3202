"""Reads ``deployer lab status --json`` and prints the address of the first host of the named lab."""

from __future__ import annotations

import json
import sys

labs = json.load(sys.stdin)["labs"]
(hosts,) = [lab["hosts"] for lab in labs if lab["name"] == sys.argv[1]]
print(hosts[0]["address"])
