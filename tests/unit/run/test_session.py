"""The command line in a message that continues the run."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from deployer.run.options import SessionOptions
from deployer.run.session import _command_line


def test_the_command_to_continue_with_has_all_that_it_needs() -> None:
    options = SessionOptions(inventories=[Path("a.yml")])
    again = partial(_command_line, Path("my site.yml"), command="recover", host="web1")
    assert again(options, is_part=False) == "deployer recover 'my site.yml' -i a.yml"
    asked = replace(options, user="ops", ask_pass=True, become=True, ask_become_pass=True)
    assert again(asked, is_part=True).endswith(" -i a.yml -u ops -b -k -K -l web1")
    renew = _command_line(Path("s.yml"), SessionOptions(), "certs renew", "web1", is_part=False)
    assert renew == "deployer certs renew s.yml"
