"""Certificates of servers: verified, known by their fingerprint, or taken as they are where a person says so.

FFmpeg verifies none unless it is told to, and does not tell what is wrong with one. So every TLS connection is made
here, by Python's `ssl`.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from edgebird.capture.serve import CaptureError

Connect: TypeAlias = Callable[[], socket.socket]

_DIGEST = "sha256:"
# By OpenSSL's number of what is wrong (X509_V_ERR_...): what that means, and what to do about it.
_EXPIRED, _NOT_YET, _OWN, _OTHER_HOST, _OTHER_ADDRESS = 10, 9, (2, 18, 19, 20, 21), 62, 64


@dataclass(frozen=True)
class Trust:
    """Which certificate is taken: one that is valid, any (`verified` False), or the one with a SHA-256 (hex digits)."""

    verified: bool = True
    fingerprint: str = ""

    @classmethod
    def of(cls, verify: bool | str) -> Trust:
        """Read the setting `verify`: True, False or `sha256:` and 64 hex digits."""
        if isinstance(verify, str):
            return cls(False, verify.removeprefix(_DIGEST))
        return cls(verify)

    @property
    def note(self) -> str:
        """What a person has to know who reads that the stream is open; empty if its certificate is verified."""
        if self.fingerprint:
            return "its certificate is recognised by the fingerprint in verify"
        return "" if self.verified else "its certificate is not verified: verify is false"

    def secure(self, connect: Connect, host: str, name: str) -> ssl.SSLSocket:
        """Connect and agree on TLS. name: of the stream, for errors. Raises CaptureError `untrusted`, and OSError.

        connect: opens a connection; it is called again to look at a certificate that was refused.
        """
        try:
            secured = _agree(self._context(), connect(), host)
        except ssl.SSLCertVerificationError as error:
            raise _refused(error, _fingerprint_at(connect, host), host, name) from None
        except ssl.SSLError as error:
            raise CaptureError("error", f"{name}: {_no_tls(error)}") from None
        found = fingerprint_of(secured)
        if self.fingerprint and found != self.fingerprint:
            secured.close()
            text = f"its certificate is not the one in verify, but {_DIGEST}{found}: if the server has got a new one, "
            raise CaptureError("untrusted", f"{name}: {text}change verify to that; if not, somebody is in between")
        return secured

    def _context(self) -> ssl.SSLContext:
        if not self.verified:
            return _indifferent()
        return ssl.create_default_context()


def fingerprint_of(secured: ssl.SSLSocket) -> str:
    """Return the SHA-256 of the other side's certificate as hex digits."""
    return hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()


def _indifferent() -> ssl.SSLContext:
    """Take whatever certificate there is; old cameras have short keys and old versions of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def _agree(context: ssl.SSLContext, plain: socket.socket, host: str) -> ssl.SSLSocket:
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except OSError:
        plain.close()
        raise


def _fingerprint_at(connect: Connect, host: str) -> str:
    """Look at the certificate of a server; nothing is asked of it. Empty if that fails."""
    try:
        with _agree(_indifferent(), connect(), host) as secured:
            return fingerprint_of(secured)
    except OSError:
        return ""


def _refused(error: ssl.SSLCertVerificationError, fingerprint: str, host: str, name: str) -> CaptureError:
    code = error.verify_code
    if code == _EXPIRED:
        what, do = "it has expired", "renew it, and look whether this computer's clock is right"
    elif code == _NOT_YET:
        what, do = "it is not valid yet", "look whether this computer's clock is right"
    elif code in _OWN:
        what, do = "nobody whom this computer trusts has signed it", "get one that is signed"
    elif code in (_OTHER_HOST, _OTHER_ADDRESS):
        what, do = f"it is not for {host}", "use the name that it is for"
    else:
        what, do = error.verify_message or "it cannot be verified", "get another"
    if fingerprint:
        do += f'; or, if it is the right server, set verify = "{_DIGEST}{fingerprint}" for this source'
    return CaptureError("untrusted", f"{name}: its certificate is refused, {what}: {do}")


def _no_tls(error: ssl.SSLError) -> str:
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_MESSAGE"):
        return "there is no TLS at this port: is the address one without the s, http or rtsp?"
    words = (error.reason or "the connection was closed").replace("_", " ").lower()
    return f"no agreement on TLS: {words}"
