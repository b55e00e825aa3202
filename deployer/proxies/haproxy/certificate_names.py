"""The names in the certificates of HAProxy's ``bind`` lines, in the order in which they are loaded.

They select a certificate, and often nothing else shows which names a frontend serves. Source:
HAProxy's configuration manual, 5.1 "crt", "crt-list".
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from deployer.proxies.haproxy.config import HaproxyConfig
from deployer.proxies.inspect.model import Directive

#: In crt-lists, the options of a certificate are in brackets.
_OPTIONS = re.compile(r"\[[^\]]*\]")


def certificate_names(config: HaproxyConfig, bind: Directive) -> Iterator[tuple[str, Directive]]:
    """Each name with the file that it is from."""
    for option, value in pairwise(bind.words):
        if option == "crt":
            yield from _of_path(config, value)
        elif option == "crt-list":
            yield from _of_list(config, value)


def _of_list(config: HaproxyConfig, path: str) -> Iterator[tuple[str, Directive]]:
    for number, line in enumerate(config.files.get(path, "").splitlines(), 1):
        words = _OPTIONS.sub(" ", line.partition("#")[0]).split()
        filters = [word for word in words[1:] if not word.startswith("!")]
        if filters:
            by = Directive(words=tuple(words), file=path, line=number)
            yield from ((name.lower(), by) for name in filters if name != "*")
        elif words:
            yield from _of_path(config, words[0])


def _of_path(config: HaproxyConfig, path: str) -> Iterator[tuple[str, Directive]]:
    """The names of a certificate, or of each in a folder."""
    base = config.setting("crt-base")
    if base is not None and base.words[1:] and not path.startswith("/"):
        path = posixpath.join(base.words[1], path)
    path = path.rstrip("/")
    in_folder = (each for each in config.files if posixpath.dirname(each) == path)
    for each in (path,) if path in config.files else in_folder:
        by = Directive(words=(each,), file=each, line=0)
        yield from ((name, by) for name in _names_in(config.files[each]))


@lru_cache(maxsize=512)
def _names_in(pem: str) -> tuple[str, ...]:
    """The DNS names of the first certificate; none if it cannot be read."""
    if "-----BEGIN CERTIFICATE-----" not in pem:
        return ()
    from cryptography import x509

    try:
        leaf = x509.load_pem_x509_certificate(pem.encode())
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = extension.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        common = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        names = [str(each.value) for each in common]
    except ValueError:
        return ()
    return tuple(name.lower() for name in names)
