"""Parsing certificates in DER and PEM, as far as necessary.

On the host there is only the standard library, whose `ssl` does not expose what it parses. This
module verifies no signature. OpenSSL checks whether a key belongs to a certificate.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import ipaddress
import re

_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----", re.ASCII
)
_SEQUENCE, _SET, _INTEGER, _OCTETS, _OID, _BITS = 0x30, 0x31, 0x02, 0x04, 0x06, 0x03
_UTC_TIME = 0x17

_SUBJECT_ALT_NAME, _AUTHORITY_KEY_ID = "2.5.29.17", "2.5.29.35"
_RSA, _ELLIPTIC = "1.2.840.113549.1.1.1", "1.2.840.10045.2.1"
_CURVES = {
    "1.2.840.10045.3.1.7": "ecdsa-p256",
    "1.3.132.0.34": "ecdsa-p384",
    "1.3.132.0.35": "ecdsa-p521",
}
#: Attribute types with the short names of RFC 4514, section 3.
_ATTRIBUTES = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
}


class Unreadable(ValueError):  # noqa: N818 - a finding
    """The data is not a certificate."""


class Certificate:
    """One certificate.

    `serial` is its number; `names` its DNS names and addresses, in lower case; `not_before` and
    `not_after` are seconds since the epoch; `key_type` is ``ecdsa-p256``, ``rsa-2048`` and the
    like; `issuer` and `subject` are names in the format of RFC 4514.
    """

    __slots__ = (
        "_authority_key_id",
        "_serial_bytes",
        "der",
        "issuer",
        "key_type",
        "names",
        "not_after",
        "not_before",
        "subject",
    )

    def __init__(self, der: bytes) -> None:
        self.der = der
        self._authority_key_id = b""
        self.names: tuple[str, ...] = ()
        try:
            self._read(_Reader(der))
        except (IndexError, ValueError, UnicodeDecodeError) as error:
            raise Unreadable(f"not a certificate: {error}") from None

    @property
    def serial(self) -> str:
        """The serial number in hexadecimal digits, as ``openssl x509 -serial`` prints it."""
        text = binascii.hexlify(self._serial_bytes).decode().upper()
        return text[2:] if text.startswith("00") and len(text) > 2 else text

    @property
    def lifetime_s(self) -> float:
        """Its validity in seconds."""
        return self.not_after - self.not_before + 1

    @property
    def is_self_signed(self) -> bool:
        """Whether subject and issuer are equal."""
        return self.subject == self.issuer

    @property
    def ari_id(self) -> str:
        """Its identifier in renewal information; empty if it does not name its issuer's key.

        Source: RFC 9773, section 4.1.
        """
        if not self._authority_key_id:
            return ""
        return _base64url(self._authority_key_id) + "." + _base64url(self._serial_bytes)

    def covers(self, name: str) -> bool:
        """Whether it is valid for `name`; a wildcard matches one label (RFC 9525, 6.3)."""
        name = name.lower()
        return name in self.names or "*." + name.partition(".")[2] in self.names

    def _read(self, whole: _Reader) -> None:
        body = whole.inner(_SEQUENCE).inner(_SEQUENCE)
        if body.peek() == 0xA0:  # the version
            body.skip()
        self._serial_bytes = body.take(_INTEGER)
        body.skip()  # the algorithm of the signature
        self.issuer = _name(body.inner(_SEQUENCE))
        validity = body.inner(_SEQUENCE)
        self.not_before, self.not_after = _time(validity), _time(validity)
        self.subject = _name(body.inner(_SEQUENCE))
        self.key_type = _key_type(body.inner(_SEQUENCE))
        while not body.is_empty:
            if body.peek() == 0xA3:
                self._read_extensions(body.inner(0xA3).inner(_SEQUENCE))
            else:
                body.skip()

    def _read_extensions(self, extensions: _Reader) -> None:
        while not extensions.is_empty:
            extension = extensions.inner(_SEQUENCE)
            oid = _oid(extension.take(_OID))
            if extension.peek() == 0x01:  # whether it is critical
                extension.skip()
            value = extension.inner(_OCTETS)
            if oid == _SUBJECT_ALT_NAME:
                self.names = tuple(_general_names(value.inner(_SEQUENCE)))
            elif oid == _AUTHORITY_KEY_ID:
                parts = value.inner(_SEQUENCE)
                if not parts.is_empty and parts.peek() == 0x80:
                    self._authority_key_id = parts.take(0x80)


def certificates_in(pem: bytes) -> list[Certificate]:
    """The certificates in `pem`, in order.

    Raises:
        Unreadable: there is none, or one of them is not a certificate.
    """
    found = []
    for body in _PEM.findall(pem):
        try:
            found.append(Certificate(base64.b64decode(body)))
        except binascii.Error as error:
            raise Unreadable(f"not a certificate: {error}") from None
    if not found:
        raise Unreadable("there is no certificate in it")
    return found


class _Reader:
    """Elements of DER (ITU-T X.690), one after another."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        return self._at >= len(self._data)

    def peek(self) -> int:
        """The tag of the next element."""
        return self._data[self._at]

    def take(self, tag: int | None = None) -> bytes:
        """The content of the next element, which must have `tag` if one is given."""
        found, length = self._data[self._at], self._data[self._at + 1]
        start = self._at + 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(self._data[start : start + count], "big")
            start += count
        if tag is not None and found != tag:
            raise ValueError(f"an element {found:#x} where {tag:#x} should be")
        if start + length > len(self._data):
            raise ValueError("it ends too early")
        self._at = start + length
        return self._data[start : start + length]

    def inner(self, tag: int) -> _Reader:
        """The elements within the next one."""
        return _Reader(self.take(tag))

    def skip(self) -> None:
        self.take()


def _oid(data: bytes) -> str:
    numbers = [min(data[0] // 40, 2)]
    numbers.append(data[0] - 40 * numbers[0])
    value = 0
    for byte in data[1:]:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    return ".".join(map(str, numbers))


def _time(reader: _Reader) -> int:
    """UTCTime or GeneralizedTime in the forms of RFC 5280, section 4.1.2.5."""
    tag = reader.peek()
    text = reader.take().decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    if not re.fullmatch(r"\d{14}Z", text):
        raise ValueError(f"{text} is not a time")
    parts = [int(text[:4]), *(int(text[at : at + 2]) for at in range(4, 14, 2))]
    return calendar.timegm((*parts, 0, 0, 0))


def _name(reader: _Reader) -> str:
    """A distinguished name, the most specific part first (RFC 4514, section 2.1)."""
    parts = []
    while not reader.is_empty:
        attributes = reader.inner(_SET)
        while not attributes.is_empty:
            attribute = attributes.inner(_SEQUENCE)
            kind = _oid(attribute.take(_OID))
            is_wide = attribute.peek() == 0x1E
            value = attribute.take().decode("utf-16-be" if is_wide else "utf-8", "replace")
            parts.append(f"{_ATTRIBUTES.get(kind, kind)}={_escaped(value)}")
    return ",".join(reversed(parts))


def _escaped(value: str) -> str:
    return re.sub(r'([,+"\\<>;])', r"\\\1", value)


def _key_type(reader: _Reader) -> str:
    algorithm = reader.inner(_SEQUENCE)
    kind = _oid(algorithm.take(_OID))
    if kind == _ELLIPTIC:
        return _CURVES.get(_oid(algorithm.take(_OID)), "ecdsa")
    if kind == _RSA:
        modulus = _Reader(reader.take(_BITS)[1:]).inner(_SEQUENCE).take(_INTEGER)
        return f"rsa-{int.from_bytes(modulus, 'big').bit_length()}"
    return kind


def _general_names(reader: _Reader) -> list[str]:
    names = []
    while not reader.is_empty:
        tag = reader.peek()
        value = reader.take()
        if tag == 0x82:
            names.append(value.decode("ascii").lower())
        elif tag == 0x87:
            names.append(str(ipaddress.ip_address(value)))
    return names


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
