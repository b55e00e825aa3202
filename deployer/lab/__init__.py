"""Disposable hosts on one Linux machine: Debian with systemd, sshd and apt, for tests and trials.

An image is built once with mmdebstrap and cached. A host is a systemd-nspawn container that boots
the image with its own overlay and an address on the lab's bridge, without access to other networks.
Everything of a lab is in one folder, so that a later lab can clean up after a killed one.
"""
