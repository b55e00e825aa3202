"""The folder of the internal CA, and the errors if it is not as we left it."""

from __future__ import annotations

from pathlib import Path

from deployer.errors import UsageError
from deployer.private_folder import PrivateFolder


class CaStore(PrivateFolder):
    """Files in `folder`, created with mode 0700. Only `broken` may be used without the lock."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, owner="the internal CA")

    def read(self, name: str) -> bytes | None:
        """A file's content, or `None` if there is no such file."""
        content = super().read(name)
        if content is not None and b"PRIVATE KEY" in content and self.is_open_to_others(name):
            raise self.broken(name, "holds a private key that others on this machine may read")
        return content

    def has_leaves(self) -> bool:
        """Whether any site's certificate is kept here."""
        return any(path.name != "root.pem" for path in self.path.glob("[!.]*.pem"))

    def broken(self, name: str, what: str) -> UsageError:
        """The error for a file that is not as we left it."""
        root = name in ("root.key", "root.pem")
        hint = (
            f"Restore {self.path} from a backup. Or remove the folder: the next apply creates "
            "a new authority, which every client must then be made to trust."
            if root
            else "Remove that file: the next apply issues a new certificate."
        )
        if "others on this machine" in what:
            hint = f"If no one else can have read it: chmod 600 {self.path / name}"
        return UsageError(
            f"the internal CA is broken: {self.path / name} {what}; no host was touched",
            hint=hint,
        )
