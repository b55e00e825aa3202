"""The tests of deployer, and what they share in `tests.support`."""
