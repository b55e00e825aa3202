"""TLS as Mozilla's intermediate guideline has it, by the word of a scanner."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conformance.world import DOMAIN, World
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.lab, pytest.mark.every_release]

#: In an environment of its own, as it wants another version of what we use, too.
_SSLYZE = Path(sys.prefix) / "sslyze/bin/sslyze"


def test_mozillas_guideline(world: World) -> None:
    if not _SSLYZE.exists():
        pytest.fail("sslyze is not there: `make sslyze` installs it", pytrace=False)
    where = f"{DOMAIN}:443{{{world.host.address}}}"
    ca = ["--certinfo_ca_file", str(world.root_pem)]
    done = subprocess.run(
        [str(_SSLYZE), "--mozilla_config", "intermediate", *ca, where],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    verdict = done.stdout.partition("COMPLIANCE AGAINST")[2]
    assert f"{DOMAIN}:443: OK - Compliant" in verdict, done
    assert done.returncode == 0
