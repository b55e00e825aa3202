"""Builds the images that the tests boot: ``python3 -m tests.support.images``.

It takes minutes, a network and little else, so that it can be done while other tests run. The
standard library is enough.
"""

from __future__ import annotations

from deployer.lab.images import SUITES, image

if __name__ == "__main__":
    for name in sorted(SUITES, key=["debian-12", "debian-13", "debian-11"].index):
        image(name, progress=print)
