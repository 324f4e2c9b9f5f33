"""The page that documents the API needs nothing but this server: a plant has no way to the internet."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from prometheus_client import CollectorRegistry

from cloud_ingest.gateway.app import make_app
from cloud_ingest.observability.obstacles import Obstacles

PAGE = "http://cloud.example/api/docs"


@pytest.fixture
def client() -> httpx.AsyncClient:
    database: Any = None
    transport = httpx.ASGITransport(make_app(database, CollectorRegistry(), Obstacles()))
    return httpx.AsyncClient(transport=transport)


async def test_everything_on_the_page_comes_from_this_server(client: httpx.AsyncClient) -> None:
    async with client:
        page = await client.get(PAGE)
        addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(addresses) == 4
        for address in addresses:
            found = await client.get(urljoin(PAGE, address))
            assert urljoin(PAGE, address).startswith("http://cloud.example/api/docs/")
            assert (found.status_code, found.content != b"") == (200, True), address
        policy = page.headers["content-security-policy"]
    assert policy == "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
    assert "//" not in page.text.replace("<!doctype", "")


async def test_nobody_is_asked_for_a_verdict_on_the_document(client: httpx.AsyncClient) -> None:
    async with client:
        start = await client.get(f"{PAGE}/start.js")
        document = await client.get("http://cloud.example/api/openapi.json")
    assert start.headers["content-type"].startswith("text/javascript")
    assert "validatorUrl: null" in start.text
    assert 'url: "openapi.json"' in start.text
    assert document.json()["info"]["title"] == "Lineside"


async def test_the_pages_of_the_framework_that_load_from_the_internet_are_off(client: httpx.AsyncClient) -> None:
    async with client:
        for path in ("/docs", "/redoc", "/api/docs/oauth2-redirect", "/api/docs/assets/nothing.js"):
            answer = await client.get(f"http://cloud.example{path}")
            assert (answer.status_code, answer.json()["detail"]) == (404, "/api/docs lists what can be asked")
