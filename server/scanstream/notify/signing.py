"""By what a receiver knows that it was us: ids, secrets and signatures of the Standard Webhooks specification, 1.0.0.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

Ids and secrets are derived from the store's key: all nodes have the same, nothing has to be kept, and nobody else can
make them up. A secret is one principal's and one receiver's, so that no receiver can speak to another in our name.
"""

import base64
import hmac

from scanstream.model import Principal, ScanId

ID = "webhook-id"
TIMESTAMP = "webhook-timestamp"
SIGNATURE = "webhook-signature"

_IDS = b"scanstream: ids of notifications"
_SECRETS = b"scanstream: secrets of notifications"
"""What the derived keys are for, as for scan tokens (security/tokens.py)."""
_ID_BYTES = 16
_PREFIX = "whsec_"


class Signing:
    """The ids and secrets of one store."""

    def __init__(self, store_key: bytes) -> None:
        self._ids = hmac.digest(store_key, _IDS, "sha256")
        self._secrets = hmac.digest(store_key, _SECRETS, "sha256")

    def id_of(self, scan_id: ScanId, url: str) -> str:
        """What this scan's end is called where it is told: the same each time, and no dot in it."""
        return "msg_" + hmac.digest(self._ids, _framed(scan_id, url), "sha256")[:_ID_BYTES].hex()

    def secret_of(self, principal: Principal, origin: str) -> str:
        """The secret between us and this receiver, for scans of this principal: 32 bytes, as they are handed out."""
        secret = hmac.digest(self._secrets, _framed(principal, origin), "sha256")
        return _PREFIX + base64.b64encode(secret).decode()


def _framed(first: str, second: str) -> bytes:
    """Two texts as one, in such a way that no other two make the same."""
    begun = first.encode("utf-8", "surrogatepass")
    return len(begun).to_bytes(8) + begun + second.encode()


def signed(secret: str, message_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt.

    :param secret: `whsec_` and base64
    :param seconds: when the attempt is made, since 1970
    """
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    content = f"{message_id}.{seconds}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, content, "sha256")).decode()
    return {ID: message_id, TIMESTAMP: str(seconds), SIGNATURE: f"v1,{signature}"}
