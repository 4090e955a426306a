"""Names and passwords for HTTP, when a server asks for them: Basic (RFC 7617), Digest (RFC 7616: MD5, SHA-256)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote

_HASHES = {"MD5": "md5", "SHA-256": "sha256"}
_PARAMETER = re.compile(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True)
class Credentials:
    """Of a user, for one server: they are sent to no other."""

    user: str = field(repr=False)
    password: str = field(repr=False)

    @classmethod
    def of(cls, parts: SplitResult) -> Credentials | None:
        """Those in a URL, None where there are none."""
        if parts.username is None:
            return None
        return cls(unquote(parts.username), unquote(parts.password or ""))

    def answer(self, challenges: Sequence[str], target: str) -> str | None:
        """Return the header `Authorization` for a GET of `target`; None if no challenge can be answered.

        challenges: the headers `WWW-Authenticate`, the one that is answered is the first that can be.
        """
        for challenge in challenges:
            scheme, _, rest = challenge.strip().partition(" ")
            if scheme.lower() == "basic":
                pair = f"{self.user}:{self.password}".encode()
                return "Basic " + base64.b64encode(pair).decode()
            if scheme.lower() == "digest":
                asked = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(rest)}
                if answer := self._digest(asked, target):
                    return answer
        return None

    def _digest(self, asked: dict[str, str], target: str) -> str | None:
        algorithm = asked.get("algorithm", "MD5")
        offered = [word.strip() for word in asked.get("qop", "").split(",") if word.strip()]
        if algorithm.upper() not in _HASHES or (offered and "auth" not in offered):
            return None

        def digest(*parts: str) -> str:
            return hashlib.new(_HASHES[algorithm.upper()], ":".join(parts).encode(), usedforsecurity=False).hexdigest()

        realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
        user, request = digest(self.user, realm, self.password), digest("GET", target)
        fields = {"username": self.user, "realm": realm, "nonce": nonce, "uri": target}
        bare = {}
        if offered:
            count, own = "00000001", secrets.token_hex(8)
            fields |= {"cnonce": own, "response": digest(user, nonce, count, own, "auth", request)}
            bare = {"qop": "auth", "nc": count}
        else:
            fields["response"] = digest(user, nonce, request)
        if "algorithm" in asked:
            bare["algorithm"] = algorithm
        if "opaque" in asked:
            fields["opaque"] = asked["opaque"]
        quoted = [f'{name}="{value}"' for name, value in fields.items()]
        return "Digest " + ", ".join([*quoted, *(f"{name}={value}" for name, value in bare.items())])
