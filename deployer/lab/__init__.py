"""Disposable real hosts on one Linux machine: Debian with systemd, sshd and apt, to rehearse on.

An image is made once by mmdebstrap and cached. A host is a systemd-nspawn container that boots it
with an overlay of its own, an address on the lab's bridge, and no way out. Whatever a lab needs
lives in one folder, so that a later one can take away what a killed one left behind.
"""
