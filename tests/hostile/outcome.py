"""How a call ended, whatever carried it, so that one judge can look at all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import httpx
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call ended.

    Attributes:
        code: gRPC's name of the code; empty where the door has no place for it.
        reason: of the ErrorInfo; empty: there is none, gRPC itself has answered.
        message: for people, as it came.
        fields: paths at fault.
        infos: how many ErrorInfos there were, and `domains` what they say.
        said: everything of a refusal that a person or program could read, as one text.
        answers: messages that came before the end.
        open: the stream goes on.
        http: the status code, where HTTP was spoken.
    """

    code: str
    reason: str = ""
    message: str = ""
    fields: tuple[str, ...] = ()
    infos: int = 0
    domains: tuple[str, ...] = ()
    said: str = ""
    answers: tuple[bytes, ...] = ()
    open: bool = False
    http: int = 0


def outcome_of(error: grpc.aio.AioRpcError, answers: Sequence[bytes] = ()) -> Outcome:
    """A call that ended with an error."""
    details = [value for key, value in error.trailing_metadata() or () if key == DETAILS_KEY]
    code, message = error.code().name, error.details() or ""
    if not details:
        return Outcome(code=code, message=message, said=message, answers=tuple(answers))
    assert len(details) == 1
    assert isinstance(details[0], bytes)
    status = status_pb2.Status.FromString(details[0])
    assert (status.code, status.message) == (error.code().value[0], message), "two statuses that differ"
    return of_status(status, answers=tuple(answers))


def of_status(status: status_pb2.Status, *, answers: tuple[bytes, ...] = (), http: int = 0) -> Outcome:
    """A call that ended with a google.rpc.Status."""
    infos: list[error_details_pb2.ErrorInfo] = []
    violations: list[error_details_pb2.BadRequest.FieldViolation] = []
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            infos.append(info)
        elif detail.Unpack(bad):
            violations += bad.field_violations
    metadata = [f"{key}={value}" for info in infos for key, value in info.metadata.items()]
    return Outcome(
        code=code_pb2.Code.Name(status.code),
        reason=infos[0].reason if infos else "",
        message=status.message,
        fields=tuple(each.field for each in violations),
        infos=len(infos),
        domains=tuple(info.domain for info in infos),
        said="\n".join([status.message, *metadata, *(f"{each.field}: {each.description}" for each in violations)]),
        answers=answers,
        http=http,
    )


def outcome_of_response(response: httpx.Response) -> Outcome:
    """What the web door has answered: a google.rpc.Status on the native door, their own forms on the older ones."""
    if response.status_code < 400:
        return Outcome(code="OK", http=response.status_code, answers=(response.content,))
    value: dict[str, Any] = response.json()
    if "code" in value:
        status = status_pb2.Status(code=value["code"], message=value["message"])
        for detail in value["details"]:
            kind = detail.pop("@type").rpartition(".")[2]
            status.details.add().Pack(_DETAILS[kind](detail))
        return of_status(status, http=response.status_code)
    # The older doors have no place for codes and domains.
    return Outcome(
        code="",
        reason=str(value.get("errorCode") or value["reason"]),
        message=str(value.get("why") or value["message"]),
        fields=tuple(str(each.get("field", "")) for each in value.get("fields", ())),
        infos=1,
        domains=("tenure",),
        said=response.text,
        http=response.status_code,
    )


def _error_info(value: dict[str, Any]) -> Message:
    return error_details_pb2.ErrorInfo(**value)


def _bad_request(value: dict[str, Any]) -> Message:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=each.get("field", ""), description=each["description"])
            for each in value["fieldViolations"]
        ]
    )


_DETAILS: dict[str, Callable[[dict[str, Any]], Message]] = {"ErrorInfo": _error_info, "BadRequest": _bad_request}
