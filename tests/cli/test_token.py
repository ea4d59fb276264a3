from __future__ import annotations

import grpc
import pytest

from tenure.cli.text import to_timestamp
from tenure.v1 import admin_service_pb2 as pb
from tests.cli.conftest import Tenure
from tests.cli.examples import HOSTILE, T0_US
from tests.client.scripted import Refusal, ScriptedServer

MADE = pb.CreateTokenResponse(
    token=pb.Token(id="t-1", role=pb.ROLE_WORKER, subject="gpu-1", project="p", queues=["a", "b"]), secret="tnr_s"
)


async def test_the_secret_is_alone_on_standard_output(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("CreateToken", MADE)
    result = await tenure(
        *("token", "create", "--role", "worker", "--subject", "gpu-1", "--project", "p"),
        *("--queue", "a", "--queue", "b"),
    )
    assert (result.code, result.out) == (0, "tnr_s\n")
    assert result.err == "tenure: token t-1: worker gpu-1 of project p, for a, b. It is shown this once.\n"
    [request] = server.asked["CreateToken"]
    assert (request.role, request.subject, request.project) == (pb.ROLE_WORKER, "gpu-1", "p")
    assert list(request.queues) == ["a", "b"]


async def test_scripts_get_the_whole_answer(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("CreateToken", MADE)
    result = await tenure("token", "create", "--role", "worker", "--subject", "gpu-1", "-o", "json")
    assert (result.json["secret"], result.json["token"]["id"], result.err) == ("tnr_s", "t-1", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--subject", "a"], "--role"),
        (["--role", "user"], "--subject"),
        (["--role", "king", "--subject", "a"], "'king' is not one of"),
    ],
)
async def test_what_is_written_wrongly(server: ScriptedServer, tenure: Tenure, arguments: list[str], says: str) -> None:
    result = await tenure("token", "create", *arguments)
    assert (result.code, result.out) == (2, "")
    assert says in result.err
    assert not server.asked


async def test_what_the_server_refuses(server: ScriptedServer, tenure: Tenure) -> None:
    refusal = Refusal(grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED", "it is for admin")
    server.answers("CreateToken", refusal)
    result = await tenure("token", "create", "--role", "user", "--subject", "a")
    assert (result.code, result.out) == (1, "")
    assert "ROLE_NOT_ALLOWED" in result.err


async def test_list(server: ScriptedServer, tenure: Tenure) -> None:
    good = pb.Token(id="t-1", role=pb.ROLE_USER, subject=f"a{HOSTILE}", created_at=to_timestamp(T0_US))
    revoked = pb.Token(id="t-2", role=pb.ROLE_ADMIN, subject="b", revoked_at=to_timestamp(T0_US))
    server.answers("BrowseTokens", pb.BrowseTokensResponse(tokens=[good, revoked]))
    heading, *lines = (await tenure("token", "list")).out.splitlines()
    assert heading.split() == ["ID", "ROLE", "SUBJECT", "PROJECT", "QUEUES", "CREATED", "REVOKED"]
    assert [line.split()[:2] for line in lines] == [["t-1", "user"]]
    assert "2021-10-04 06:42:56Z" in lines[0]
    assert lines[0].isprintable()
    _, *lines = (await tenure("token", "list", "--revoked")).out.splitlines()
    assert [line.split()[0] for line in lines] == ["t-1", "t-2"]
    assert [each["id"] for each in (await tenure("token", "list", "--revoked", "-o", "jsonl")).json_lines] == [
        "t-1",
        "t-2",
    ]


async def test_revoke(server: ScriptedServer, tenure: Tenure) -> None:
    server.answers("RevokeToken", pb.RevokeTokenResponse())
    result = await tenure("token", "revoke", "t-1", "t-2", "t-1")
    assert (result.code, result.out) == (0, "t-1 revoked\nt-2 revoked\n")
    assert [request.id for request in server.asked["RevokeToken"]] == ["t-1", "t-2"]
    assert (await tenure("token", "revoke", "t-1", "-o", "json")).json == {"revoked": ["t-1"]}


async def test_what_was_revoked_before_one_that_is_unknown_is_said(server: ScriptedServer, tenure: Tenure) -> None:
    unknown = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "there is no token with this id")
    server.answers("RevokeToken", pb.RevokeTokenResponse(), unknown)
    result = await tenure("token", "revoke", "t-1", "nobody")
    assert (result.code, result.out) == (1, "t-1 revoked\n")
    assert "there is no token with this id" in result.err
