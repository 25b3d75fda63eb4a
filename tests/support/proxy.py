"""nginx in front of servers, as deploy/nginx.conf has it; on a free port of loopback, by whoever runs the tests."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

CONFIGURATION = Path(__file__).parent.parent.parent / "deploy" / "nginx.conf"
SECONDS = 30
LOG = r"/var/log/nginx/access\.log"

MAIN = """
{user}
daemon off;
pid {directory}/pid;
error_log stderr warn;
worker_processes 1;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {site}
}}
"""

NAKED = """
server {{
    listen 127.0.0.1:{port};
    location /tools/scan/ {{ proxy_pass {url}/; }}
}}
"""
"""What somebody writes who has read nothing."""


def nginx() -> str:
    """Debian's nginx; a test without it is skipped."""
    found = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if found is None:
        pytest.skip("nginx is not on this machine: apt-get install nginx-light")
    return found


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@contextmanager
def proxied(url: str, directory: Path, naked: str | None = None) -> Iterator[tuple[str, str]]:
    """The site of deploy/nginx.conf before a server, and before another one a location without anything else."""
    port, other = free_port(), free_port()
    site = CONFIGURATION.read_text()
    for pattern, ours in (
        (r"listen 80;", f"listen 127.0.0.1:{port};"),
        (r"127\.0\.0\.1:8000", urlsplit(url).netloc),
        (LOG, str(directory / "access.log")),
    ):
        site, count = re.subn(pattern, ours, site)
        assert count == 1, pattern
    if naked is not None:
        site += NAKED.format(port=other, url=naked)
    with _running(site, directory, port):
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{other}"


@contextmanager
def _running(site: str, directory: Path, port: int) -> Iterator[None]:
    """nginx with this site, which listens on this port."""
    file = directory / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    file.write_text(MAIN.format(user=user, directory=directory, site=site))
    process = subprocess.Popen([nginx(), "-p", str(directory), "-c", str(file)], stderr=subprocess.PIPE, text=True)
    try:
        _until_open(process, port)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


def _until_open(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=SECONDS).close()
        except OSError:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return


@contextmanager
def balanced(urls: list[str], directory: Path) -> Iterator[str]:
    """The site of deploy/nginx-cluster.conf before these nodes; where they are stands in it instead of a name."""
    port = free_port()
    site = (CONFIGURATION.parent / "nginx-cluster.conf").read_text()
    nodes = "\n".join(f"server {urlsplit(url).netloc} max_fails=1 fail_timeout=2s;" for url in urls)
    for pattern, ours in (
        (r"listen 8080;", f"listen 127.0.0.1:{port};"),
        (LOG, str(directory / "access.log")),
        (r"resolver 127\.0\.0\.11 valid=2s;", ""),
        (r"server web:8000 resolve max_fails=1 fail_timeout=2s;", nodes),
    ):
        site, count = re.subn(pattern, ours, site)
        assert count == 1, pattern
    with _running(site, directory, port):
        yield f"http://127.0.0.1:{port}"
