"""Reasons and their codes; and no status larger than what clients take."""

from __future__ import annotations

import base64
import re
import string
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tenure.controlplane import status
from tenure.controlplane.status import InvalidFields, Violation
from tenure.domain.errors import Reason, Refused

PROTO = Path(__file__).parents[2] / "protos" / "tenure" / "v1" / "errors.proto"


def documented() -> dict[str, str]:
    """The code that errors.proto says of each reason."""
    text = PROTO.read_text(encoding="utf-8")
    found = re.findall(r"((?:^  //.*\n)+)  ERROR_REASON_(\w+) = \d+;", text, re.MULTILINE)
    comments = {name: " ".join(comment.replace("//", " ").split()) for comment, name in found}
    return {name: comment.split(":")[0] for name, comment in comments.items() if re.match(r"[A-Z_]+:", comment)}


def test_every_reason_has_the_code_that_its_comment_says() -> None:
    assert {reason.value: status.CODES[reason].name for reason in Reason} == {
        **documented(),
        Reason.WORKER_SUSPECT.value: "FAILED_PRECONDITION",  # never the reason of a refused call
    }


def test_a_status_says_it_all_once() -> None:
    built = status.of_refusal(Refused(Reason.EXTENSION_CAP, "too long", field="items[0]", metadata={"remaining": "5"}))
    assert (built.code, built.message) == (grpc.StatusCode.FAILED_PRECONDITION, "too long")
    ((key, raw),) = built.trailers
    assert key == "grpc-status-details-bin"
    message = status_pb2.Status.FromString(raw)
    assert (message.code, message.message, len(message.details)) == (9, "too long", 2)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert message.details[0].Unpack(info)
    assert message.details[1].Unpack(bad)
    assert (info.reason, info.domain, dict(info.metadata)) == ("EXTENSION_CAP", "tenure", {"remaining": "5"})
    assert [(one.field, one.description) for one in bad.field_violations] == [("items[0]", "too long")]


@pytest.mark.parametrize("length", [10, 150, 10_000])
def test_however_much_is_wrong_the_status_fits_into_trailers(length: int) -> None:
    violations = [Violation("f" * length, "d" * length) for _ in range(1000)]
    built = status.of_refusal(InvalidFields(violations))
    assert len(built.trailers[0][1]) + len(built.message) < 7000
    message = status_pb2.Status.FromString(built.trailers[0][1])
    bad = error_details_pb2.BadRequest()
    assert message.details[1].Unpack(bad)
    assert 5 <= len(bad.field_violations) <= 50
    assert built.message.startswith("f" * 10)


@pytest.mark.parametrize("letter", ["a", "\N{LATIN SMALL LETTER E WITH ACUTE}", "\U0001f4a5", "\n", "%"])
def test_in_whatever_letters_the_status_fits_into_trailers(letter: str) -> None:
    built = status.of_refusal(Refused(Reason.JOB_NOT_FOUND, "no " + letter * 5000, field=letter * 5000))
    # On the wire the message is percent-encoded, and the details are base64 for whoever does not speak gRPC's own form.
    message = len(quote(built.message, safe=string.punctuation.replace("%", "") + " "))
    assert message + len(base64.b64encode(built.trailers[0][1])) < 7800
    assert built.message.startswith("no " + letter)
