"""The interface of a proxy's module that writes strings into its configuration."""

from __future__ import annotations

from typing import Protocol


class Escaping(Protocol):
    """``escaping.py`` of a proxy."""

    def string(self, text: str) -> str:
        """`text` as one word of a directive, which the proxy reads back unchanged.

        Raises:
            ValueError: the configuration cannot express it.
        """

    def header_value(self, text: str) -> str:
        """`text` as the value of a header, which the proxy sends unchanged.

        Raises:
            ValueError: the configuration cannot express it.
        """
