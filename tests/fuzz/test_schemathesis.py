"""A real server, asked by schemathesis what its own contract allows and forbids: no defect, nothing undocumented."""

import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fuzz.speaking import SOAK_SECONDS, seeds
from scanstream.push.contract.documents import openapi
from support.plain import NO_TLS
from support.process import ServerProcess, server_process
from support.wire import ONE_QUICK_SCAN

SECONDS = 30
CHECKS = [
    *(not_a_server_error, status_code_conformance, content_type_conformance),
    *(response_schema_conformance, response_headers_conformance),
]
OWN = ("/opportunities/status/{scan_id}", "/opportunities/results/{scan_id}", "/opportunities/events/{scan_id}")
"""Asked of a scan that there is, too."""
QUICK = settings(
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    verbosity=Verbosity.quiet,
)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """One that is there at the end, and has met no defect."""
    with server_process(":memory:", "--workers", "1", "--max-scans", "3", "--max-running", "1") as server:
        yield server
        code, _, errors = server.ended()
        assert (code, "Traceback" in errors) == (0, False), errors


@pytest.fixture(scope="module")
def ended(server: ServerProcess) -> str:
    """A scan that is complete."""
    with httpx.Client(base_url=server.url, trust_env=False, verify=NO_TLS, timeout=SECONDS * 2) as client:
        scan_id: str = client.post("/opportunities/discover", json=ONE_QUICK_SCAN).json()["scan_id"]
        assert client.get(f"/opportunities/results/{scan_id}?wait=60").status_code == 200
    return scan_id


def ask(server: ServerProcess, ended: str, examples: int, first: int, methods: str = "get post head options") -> None:
    """Each operation so many times: by what it allows, and by what it does not."""
    contract = schemathesis.openapi.from_dict(openapi())
    with requests.Session() as session:
        session.trust_env = False
        for found in contract.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            if operation.method not in methods.split():
                continue
            for mode in GenerationMode:
                scans = [None, ended] if operation.path in OWN else [None]
                for scan_id in scans:
                    path = None if scan_id is None else {"scan_id": scan_id}
                    cases = operation.as_strategy(generation_mode=mode, path_parameters=path)

                    @seed(first)
                    @settings(QUICK, max_examples=examples)
                    @given(case=cases)
                    def asked(case: schemathesis.Case[Any]) -> None:
                        answer = case.call(base_url=server.url, session=session, timeout=SECONDS)
                        case.validate_response(answer, checks=CHECKS)

                    with suppress(Unsatisfiable):  # of some operations there is nothing that may not be asked
                        asked()


def test_what_is_asked_is_answered_as_the_contract_says(server: ServerProcess, ended: str) -> None:
    ask(server, ended, 3, 0, "get post")


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS * 4)
def test_the_same_for_minutes(server: ServerProcess, ended: str) -> None:
    end = time.monotonic() + SOAK_SECONDS
    for first in count(seeds()):
        print(f"seed {first}")
        ask(server, ended, 25, first)
        if time.monotonic() > end:
            break
