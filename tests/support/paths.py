"""Where the tests find their data: the repository, the cases, and programs to run on hosts."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Cases of unit tests, as files.
CASES = ROOT / "tests/unit/cases"
#: Programs that integration tests run on hosts.
PROGRAMS = ROOT / "tests/support/programs"
