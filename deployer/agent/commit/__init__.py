"""One commit on a host: its records, its changes and its revert.

Theory of operation
===================

An apply is a commit that must be confirmed. Before the first change, everything that a revert needs
is on the disk, in ``/var/lib/deployer/pending``:

``before.json``    a manifest of all of /etc, of /var/lib within bounds, and of every path that the
                   plan touches: type, mode, owner, time, link target, hash
``after.json``     the same manifest as the apply left it
``journal.jsonl``  one line per event, on the disk before the action itself; each line contains the
                   hash of all lines up to it
``plan.json``      the plan, without contents
``meta.json``      who, when, from where, and the state
``agent.pyz``      the agent, for the watchdog
``reserve``        disk space that a revert can count on

The contents of files that may change are in ``/var/lib/deployer/images``, each once.

A revert compares three states of each path: before, as the apply left it, now. What is as the apply
left it is restored, times included; what someone else has changed since stays and is reported.
Packages are purged by the package manager first; then the files are restored. Confirm and revert
begin with the rename of ``pending``, so only one of them can succeed (`states`).

If the agent dies, a watchdog reverts its commit: a systemd timer at the deadline, a unit in /etc at
the next boot. Both exist before the first change, run a copy of the agent with ``--revert``, and
are removed when the commit ends. A live agent holds the lock, and decides."""
