"""What the fixture `labs` gives: a function that boots a lab, ``labs(3)``."""

from __future__ import annotations

from collections.abc import Callable

from deployer.lab.lab import Lab

LabFactory = Callable[..., Lab]
