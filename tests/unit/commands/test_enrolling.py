"""What an agent does to be enrolled: its own key on its own disk, and a sentence for everything that can go wrong."""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.throwaway_authority import IssuedCertificate, ThrowawayAuthority
from typer.testing import CliRunner

from connectors.commands.enrolment import EnrolmentAnswer, EnrolmentRequest, read_request, sealed_request
from connectors.commands.refusals import Refusal
from connectors.commands.signing import SignatureRefused, SigningKey
from connectors.model.errors import PayloadInvalid
from edge_agent.cli import app as cli
from edge_agent.cli import enrol as cli_enrol
from edge_agent.commands.enrolling import Enrolled, EnrolmentFailed, enrol, place_of
from edge_agent.commands.pinned_keys import read_pinned_keys

AGENT = "plant/line"
TOKEN = "lineside_enrol_good"
CLOUD = SigningKey.generate()
Answer = tuple[int, bytes]
Ask = Callable[[EnrolmentRequest, str], Answer]


def enrolled(request: EnrolmentRequest, key_id: str, **more: Any) -> Answer:
    """What a cloud answers that is content."""
    given = {"agent": request.agent, "key_id": key_id, "keys": {CLOUD.key_id: CLOUD.public_jwk()}, **more}
    return 201, EnrolmentAnswer.model_construct(**given).to_json()


def problem(status: int, code: str, detail: str) -> Ask:
    document = {"title": "no", "status": status, "detail": detail, "code": code}
    return lambda _request, _key: (status, json.dumps(document).encode())


class PlayedCloud:
    """Answers as ``ask`` says; ``requests`` are those that it got, with the ids of their keys."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.requests: list[tuple[EnrolmentRequest, str]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(ask: Ask = enrolled, certificate: IssuedCertificate | None = None) -> Iterator[PlayedCloud]:
    cloud = PlayedCloud(ask)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = read_request(body["request"])
            cloud.requests.append(asked)
            assert self.path == "/api/v1/enrolments"
            status, content = cloud.ask(*asked)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        cloud.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield cloud
        finally:
            server.shutdown()
            thread.join()


def ask(url: str, folder: Path, *, ca: Path | None = None, insecure: bool = True) -> Enrolled:
    place = place_of(url, insecure=insecure)
    return enrol(place, TOKEN, agent=AGENT, data_dir=folder, keys_file=folder / "trusted-keys.json", ca_file=ca)


def own_key(folder: Path) -> SigningKey:
    path = folder / "agent-key.jwk"
    assert path.stat().st_mode & 0o777 == 0o600
    return SigningKey.from_jwk(json.loads(path.read_text()))


def test_the_agent_makes_its_own_key_and_pins_the_cloud_s(tmp_path: Path) -> None:
    with serving() as cloud:
        found = ask(cloud.url, tmp_path)
    ((request, key_id),) = cloud.requests
    assert (request.token, request.agent, key_id) == (TOKEN, AGENT, own_key(tmp_path).key_id)
    assert "d" not in request.key
    assert found == Enrolled(key_id, (CLOUD.key_id,))
    assert read_pinned_keys(tmp_path / "trusted-keys.json").ids == (CLOUD.key_id,)
    assert not (tmp_path / "agent-key.jwk.new").exists()


def test_enrolled_anew_it_has_a_new_key_and_an_answer_that_was_lost_is_asked_for_with_the_same(tmp_path: Path) -> None:
    with serving() as cloud:
        first = ask(cloud.url, tmp_path).key_id
        cloud.ask = lambda _request, _key: (201, b"")
        with pytest.raises(EnrolmentFailed, match="does not answer as Lineside's cloud does"):
            ask(cloud.url, tmp_path)
        assert own_key(tmp_path).key_id == first
        cloud.ask = enrolled
        second = ask(cloud.url, tmp_path).key_id
    assert [key for _, key in cloud.requests] == [first, second, second]
    assert first != second == own_key(tmp_path).key_id


def test_a_key_that_the_cloud_has_retired_is_not_asked_with_for_ever(tmp_path: Path) -> None:
    with serving(problem(409, "key_known", "make a new one")) as cloud:
        for _ in range(2):
            with pytest.raises(EnrolmentFailed, match="make a new one"):
                ask(cloud.url, tmp_path)
        assert len({key for _, key in cloud.requests}) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", json.dumps(SigningKey.generate().public_jwk())])
def test_a_pending_key_that_the_disk_has_lost_is_made_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "agent-key.jwk.new").touch(mode=0o600)
    (tmp_path / "agent-key.jwk.new").write_text(content)
    with serving() as cloud:
        assert ask(cloud.url, tmp_path).key_id == own_key(tmp_path).key_id


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_belongs_to_whom_the_folder_does(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    with serving() as cloud:
        ask(cloud.url, tmp_path)
    for name, mode in (("agent-key.jwk", 0o600), ("trusted-keys.json", 0o644)):
        stat = (tmp_path / name).stat()
        assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o777) == (12345, 12346, mode)


def test_a_pending_key_that_others_may_have_read_is_made_anew(tmp_path: Path) -> None:
    seen = SigningKey.generate()
    (tmp_path / "agent-key.jwk.new").write_text(json.dumps(seen.to_jwk()))
    (tmp_path / "agent-key.jwk.new").chmod(0o644)
    with serving() as cloud:
        assert ask(cloud.url, tmp_path).key_id != seen.key_id


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (problem(409, "token_used", "this token was used already"), "this token was used already (token_used)"),
        (problem(403, "token_expired", "this token\x1b[2J has expired"), "this token [2J has expired (token_expired)"),
        (problem(503, "", "the database is away"), "the cloud does not enrol this agent: the database is away"),
        (lambda _request, _key: (404, b"<html>"), "is it the address of Lineside's cloud?"),
        (lambda _request, _key: (500, b"[1]"), "is it the address of Lineside's cloud?"),
        (lambda _request, _key: (307, b""), "sends one to another address (307)"),
        (lambda _request, _key: (201, b"x" * 300_000), "more than 262,144 bytes"),
        (lambda request, key: enrolled(request, key, agent="plant/other"), "nothing is trusted: it is for"),
        (lambda request, _key: enrolled(request, CLOUD.key_id), "nothing is trusted: it is for"),
        (lambda request, key: enrolled(request, key, keys={}), "does not answer as Lineside's cloud does"),
        (
            lambda request, key: enrolled(request, key, keys={CLOUD.key_id: SigningKey.generate().public_jwk()}),
            "is not what its id says",
        ),
    ],
)
def test_whatever_the_cloud_says_instead_is_a_sentence_and_nothing_is_trusted(
    tmp_path: Path, answer: Ask, said: str
) -> None:
    with serving(answer) as cloud, pytest.raises(EnrolmentFailed) as caught:
        ask(cloud.url, tmp_path)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()
    assert not (tmp_path / "trusted-keys.json").exists()
    assert not (tmp_path / "agent-key.jwk").exists()


def test_over_https_only_a_certificate_of_a_trusted_authority_for_this_host_will_do(tmp_path: Path) -> None:
    authority = ThrowawayAuthority(tmp_path / "ca")
    other = ThrowawayAuthority(tmp_path / "other")
    with serving(certificate=authority.issue("cloud", hosts=["127.0.0.1"])) as cloud:
        url = cloud.url.replace("http", "https", 1)
        for ca in (None, other.certificate):
            with pytest.raises(EnrolmentFailed, match=r"certificate of 127\.0\.0\.1 is not trusted \(.*--ca"):
                ask(url, tmp_path, ca=ca, insecure=True)
        assert cloud.requests == []
        assert ask(url, tmp_path, ca=authority.certificate, insecure=False).trusted == (CLOUD.key_id,)
    with serving(certificate=authority.issue("elsewhere", hosts=["cloud.example"])) as cloud:
        with pytest.raises(EnrolmentFailed, match="is not trusted"):
            ask(cloud.url.replace("http", "https", 1), tmp_path, ca=authority.certificate)
        assert cloud.requests == []


def test_where_nobody_is_or_nobody_can_be_a_sentence_says_so(tmp_path: Path) -> None:
    with serving() as cloud:
        url = cloud.url
        with pytest.raises(EnrolmentFailed, match="does not speak TLS as it should"):
            ask(url.replace("http", "https", 1), tmp_path)
    with pytest.raises(EnrolmentFailed, match="nobody listens at"):
        ask(url, tmp_path)
    with pytest.raises(EnrolmentFailed, match=r"the name nowhere\.invalid is not known"):
        ask("https://nowhere.invalid", tmp_path)
    with pytest.raises(EnrolmentFailed, match="no-such-file"):
        ask("https://127.0.0.1", tmp_path, ca=tmp_path / "no-such-file")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://cloud.example", "add --insecure"),
        ("cloud.example", "write it as https://"),
        ("ftp://cloud.example", "write it as https://"),
        ("https://", "write it as https://"),
        ("https://a:b@cloud.example", "more than a host"),
        ("https://cloud.example/?x=1", "more than a host"),
        ("https://cloud.example:port", "is not an address"),
    ],
)
def test_an_address_that_will_not_do_is_refused(url: str, said: str) -> None:
    with pytest.raises(EnrolmentFailed, match=said):
        place_of(url, insecure=False)
    assert place_of("https://cloud.example/lineside/", insecure=False).path == "/lineside/api/v1/enrolments"


def test_a_request_is_what_its_own_key_has_signed() -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    request, key_id = read_request(sealed_request(key, TOKEN, AGENT))
    assert (request.agent, key_id) == (AGENT, key.key_id)
    of_other = EnrolmentRequest(token=TOKEN, agent=AGENT, key=other.public_jwk()).to_json()
    with pytest.raises(SignatureRefused) as caught:
        read_request(key.sign("lineside-enrolment", of_other))
    assert caught.value.code is Refusal.BAD_SIGNATURE
    with pytest.raises(PayloadInvalid, match="more than 8192"):
        read_request("x" * 8193)


@pytest.mark.parametrize("way", ["file", "input", "option"])
def test_the_token_is_read_from_a_file_from_the_input_or_with_a_warning_from_the_command_line(
    tmp_path: Path, way: str
) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text("agent: {group: plant, name: line, data_dir: data}\ncommands: {trusted_keys: keys.json}\n")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    given = {"file": ["--token-file", str(tmp_path / "token")], "input": [], "option": ["--token", TOKEN]}[way]
    program = cli.typer.Typer()
    program.command()(cli_enrol.enrol)
    with serving() as cloud:
        words = [cloud.url, "--insecure", "-c", str(config), *given]
        found = CliRunner().invoke(program, words, input=f"{TOKEN}\n" if way == "input" else "")
    assert found.exit_code == 0, found.output
    assert cloud.requests[0][0].token == TOKEN
    assert f"key {CLOUD.key_id}: compare with 'cloud-ingest keys list'" in found.stdout
    assert len(found.stdout.splitlines()) == 1
    assert ("could be read by others" in found.stderr) is (way == "option")
    assert TOKEN not in found.output
    assert read_pinned_keys(tmp_path / "data" / "keys.json").ids == (CLOUD.key_id,)
    assert own_key(tmp_path / "data").key_id in found.stdout
