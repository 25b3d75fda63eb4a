"""TLS of our own: a certificate that is tried before the server starts, and taken anew when it is renewed."""

import logging
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger("scanstream")

Naming = Callable[[str, str], AbstractContextManager[None]]
"""(setting, value): a ValueError in its block is that setting's."""

LONGEST_HANDSHAKE = 16
"""Messages back and forth, where a certificate is tried: TLS 1.3 needs three."""
OVER, NOT_YET = 10, 9
"""What OpenSSL calls a certificate whose time is over, or has not come (X509_V_ERR_…)."""


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Settings: files of a certificate, for a server that ends TLS itself."""

    tls_cert: str = ""
    """Our certificate, and those that lead from it to its authority …"""
    tls_key: str = ""
    """… and its key; unless given in that file, too."""
    tls_key_password_file: str = ""
    """Where the key is encrypted: a file whose first line is its password."""

    def _check_tls(self, naming: Naming) -> None:
        for name in ("tls_key", "tls_key_password_file"):
            with naming(name, getattr(self, name)):
                if getattr(self, name) and not self.tls_cert:
                    raise ValueError("it is for a certificate, and there is none: give --tls-cert, too")
        if self.tls_cert:
            self.tls_context(naming)

    def tls_context(self, naming: Naming) -> ssl.SSLContext:
        """What handshakes are made with.

        Each file is tried by itself, so that the one that cannot be used is named.
        """
        with naming("tls_cert", self.tls_cert):
            cert = _readable(self.tls_cert)
            trusting = _trusting(cert)
        password = None
        with naming("tls_key_password_file", self.tls_key_password_file):
            if self.tls_key_password_file:
                password = _first_line(_readable(self.tls_key_password_file))
        with naming("tls_key" if self.tls_key else "tls_cert", self.tls_key or self.tls_cert):
            context = _context(cert, _readable(self.tls_key) if self.tls_key else cert, password)
        with naming("tls_cert", self.tls_cert):
            _try(context, trusting)
        return context


def renew(context: ssl.SSLContext, tls: Tls, naming: Naming) -> None:
    """Have new connections see the certificate that is in the files now; if it cannot be used they see the old one.

    :raises SetupError: saying why
    """
    tls.tls_context(naming)
    with naming("tls_cert", tls.tls_cert):
        password = _first_line(_readable(tls.tls_key_password_file)) if tls.tls_key_password_file else None
        _load(context, _readable(tls.tls_cert), _readable(tls.tls_key or tls.tls_cert), password)


def _context(cert: Path, key: Path, password: bytes | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _load(context, cert, key, password)
    return context


def _load(context: ssl.SSLContext, cert: Path, key: Path, password: bytes | None) -> None:
    """:raises ValueError: if the key is none, or another certificate's, or cannot be opened"""
    asked = False

    def opened() -> bytes:
        nonlocal asked
        asked = True
        return password or b""

    try:
        context.load_cert_chain(cert, key, opened)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError("this key is not that of the certificate") from error
        if asked:
            told = "the password in --tls-key-password-file is not its" if password else "give --tls-key-password-file"
            raise ValueError(f"this key is encrypted; {told}") from error
        raise ValueError(f"this is no key that can be used (PEM): {error.reason or error}") from error


def _trusting(cert: Path) -> ssl.SSLContext:
    """Somebody who takes this certificate, whoever has signed it, while its time is not over.

    :raises ValueError: if there is none in the file
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cert)
    except ssl.SSLError as error:
        raise ValueError(f"there is no certificate in this file (PEM): {error.reason or error}") from error
    return context


def _try(context: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """Make a handshake with ourselves, in memory.

    :raises ValueError: if the certificate's time is over, or has not come
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server)
    for _ in range(LONGEST_HANDSHAKE):
        done = 0
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                if error.verify_code in (OVER, NOT_YET):
                    raise ValueError(f"nobody takes it: {error.verify_message}") from error
                return  # whether its authority and its purpose are right, its clients know
            except ssl.SSLError as error:
                raise ValueError(f"no handshake can be made with it: {error.reason or error}") from error
            done += 1
        if done == 2:
            return


def _readable(path: str) -> Path:
    """See to it that this is a file that we may read.

    :raises ValueError: saying why not
    """
    try:
        with Path(path).expanduser().open("rb"):
            return Path(path).expanduser()
    except OSError as error:
        raise ValueError(f"{error.strerror or error}") from error


def _first_line(path: Path) -> bytes:
    return path.read_bytes().split(b"\n")[0].rstrip(b"\r")
