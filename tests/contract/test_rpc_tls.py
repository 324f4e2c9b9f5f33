"""TLS of the gRPC API: whom a client trusts, whom the server takes, and a certificate that is renewed while it runs."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from lineside.servers.throwaway_authority import IssuedCertificate, ThrowawayAuthority

from cloud_ingest.observability.gateway_events import CertificateUnreadable
from connectors.lineside_api.v1.data_pb2 import ListTagsRequest
from connectors.observability.events import Event, listen, listen_no_more
from tests.contract.command_steps import office
from tests.contract.rpc_steps import Program, by, refused, served

HOSTS = ("localhost", "127.0.0.1")


@asynccontextmanager
async def trusting(
    port: int, authority: ThrowawayAuthority, own: IssuedCertificate | None = None
) -> AsyncIterator[Program]:
    """A program that trusts ``authority`` and shows its ``own`` certificate, on a connection of its own."""
    shown = () if own is None else (own.key.read_bytes(), own.certificate.read_bytes())
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes(), *shown)
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options) as channel:
        yield Program(channel)


async def tags(program: Program) -> Any:
    return (await program.data.ListTags(ListTagsRequest(), **by())).tags


async def test_who_shows_no_certificate_of_the_authority_is_not_let_in(database_dsn: str, tmp_path: Path) -> None:
    authority, strangers = ThrowawayAuthority(tmp_path / "a"), ThrowawayAuthority(tmp_path / "b")
    own = authority.issue("gateway", hosts=HOSTS)
    tls = {"certificate": own.certificate, "key": own.key, "clients": authority.certificate}
    async with office(database_dsn) as here, served(here.database, tls=tls) as one:
        async with trusting(one.port, authority, authority.issue("mes")) as program:
            assert await tags(program)
            call = program.data.ListTags(ListTagsRequest(), **by(None))
            assert await refused(call) == ("UNAUTHENTICATED", "no_token"), "a certificate is no login"
        for trusted, shown in ((authority, None), (authority, strangers.issue("mes")), (strangers, None)):
            async with trusting(one.port, trusted, shown) as program:
                assert (await refused(program.data.ListTags(ListTagsRequest(), **by())))[0] == "UNAVAILABLE"


async def test_a_certificate_is_renewed_by_exchanging_its_files(database_dsn: str, tmp_path: Path) -> None:
    before, after = ThrowawayAuthority(tmp_path / "a"), ThrowawayAuthority(tmp_path / "b")
    first, second = (one.issue("gateway", hosts=HOSTS) for one in (before, after))
    told: list[Event] = []
    tls = {"certificate": first.certificate, "key": first.key}
    async with office(database_dsn) as here, served(here.database, tls=tls) as one, trusting(one.port, before) as old:
        assert await tags(old)
        kept = first.certificate.read_bytes()
        first.certificate.unlink()
        listen(told.append)
        try:
            async with trusting(one.port, before) as program:
                assert await tags(program), "what it has is used on while the file is away"
        finally:
            listen_no_more(told.append)
        assert [type(event) for event in told if isinstance(event, CertificateUnreadable)] == [CertificateUnreadable]
        first.certificate.write_bytes(kept)
        shutil.copy(second.certificate, first.certificate)
        shutil.copy(second.key, first.key)
        async with trusting(one.port, after) as program:
            assert await tags(program)
        assert await tags(old), "connections that there are stay"
