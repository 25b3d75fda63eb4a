"""Authorities and certificates, made by openssl as an operator would; a test without it is skipped."""

import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Certificate(NamedTuple):
    """Two files."""

    cert: Path
    key: Path


TOLD_STRICTLY = b"\r\nstrict-transport-security: max-age=31536000\r\n"
"""What answers say for a name (RFC 6797)."""


def over(certificate: Certificate, **more: Any) -> dict[str, Any]:
    """The settings of a server with this certificate."""
    return {"tls_cert": str(certificate.cert), "tls_key": str(certificate.key), **more}


class Authority:
    """Somebody who signs certificates."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._own = Certificate(directory / f"{name}.pem", directory / f"{name}.key")
        _openssl("req", "-x509", *_NEW, "-days", "2", "-subj", f"/CN={name}", *_files(self._own))

    @property
    def file(self) -> Path:
        """What `--engine-ca` takes."""
        return self._own.cert

    def signs(self, name: str, *, host: str = "IP:127.0.0.1", days: int = 2) -> Certificate:
        """A certificate of this host (`IP:…` or `DNS:…`), for so many days from now; below 0 it is over."""
        made = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        request, names = self._directory / f"{name}.csr", self._directory / f"{name}.names"
        names.write_text(f"subjectAltName={host}\n")
        _openssl("req", *_NEW, "-subj", f"/CN={name}", "-keyout", made.key, "-out", request)
        by = ("-CA", self._own.cert, "-CAkey", self._own.key, "-CAcreateserial", "-extfile", names)
        _openssl("x509", "-req", "-in", request, *by, "-days", str(days), "-out", made.cert)
        return made


_NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _files(made: Certificate) -> tuple[str | Path, ...]:
    return ("-keyout", made.key, "-out", made.cert)


def _openssl(*words: str | Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not on this machine")
    done = subprocess.run([openssl, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def encrypted(key: Path, to: Path, password: str) -> Path:
    """The same key, behind a password."""
    _openssl("pkey", "-in", key, "-aes256", "-passout", f"pass:{password}", "-out", to)
    return to


def directory_of(authority: Authority, to: Path) -> Path:
    """A directory as `SSL_CERT_DIR` names one: files are found there by a hash of their subject."""
    openssl = shutil.which("openssl")
    assert openssl is not None
    to.mkdir()
    command = [openssl, "x509", "-hash", "-noout", "-in", str(authority.file)]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    (to / f"{name}.0").write_bytes(authority.file.read_bytes())
    return to
