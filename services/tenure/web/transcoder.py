"""The native door: every RPC with a `google.api.http` rule as JSON under `/v1/`, made from the descriptors.

A rule's path holds fields in braces; with `body: "*"` the body is the rest of the request, else the parameters are
(`flags.filterState=JOB_STATE_RUNNING`, repeated ones by repetition). What a request does not know is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2
from starlette.requests import Request
from starlette.responses import Response

from tenure.runtime.calls import Channel, Metadata
from tenure.web.addresses import PATTERN
from tenure.web.answers import JSON
from tenure.web.failures import Problem, invalid, unacceptable
from tenure.web.jsonproto import from_json, to_json
from tenure.web.reading import parse_json, read_body
from tenure.web.streaming import stream_response

PREFIX = "/v1"
IDEMPOTENCY_KEY = "idempotency-key"
LAST_EVENT_ID = "last-event-id"
# Where a stream begins. A browser that comes back asks for the same address as at first, so that what this says is out
# of date by then, and sends beside it the id of the last event that it has had.
STARTS = ("resume_token", "after_position")

_VERBS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True, slots=True)
class Binding:
    """One address of one RPC; `body` is "" or "*"."""

    verb: str
    path: str
    pattern: re.Pattern[str]
    body: str
    method: str
    streams: bool
    request: Descriptor
    request_class: type[Message]
    response_class: type[Message]


def bindings_of(files: Iterable[FileDescriptor]) -> list[Binding]:
    """The addresses of all RPCs that have one, in the order of the files.

    Raises:
        ValueError: a rule that is not understood here.
    """
    return [
        _binding(method, each)
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
        if not method.client_streaming
        for each in _rules(method)
    ]


def _rules(method: MethodDescriptor) -> list[http_pb2.HttpRule]:
    extension: Any = annotations_pb2.http
    rule: http_pb2.HttpRule = method.GetOptions().Extensions[extension]
    return [each for each in (rule, *rule.additional_bindings) if each.WhichOneof("pattern") is not None]


def _binding(method: MethodDescriptor, rule: http_pb2.HttpRule) -> Binding:
    verb = rule.WhichOneof("pattern")
    if verb not in _VERBS or rule.body not in ("", "*") or rule.response_body:
        message = f"{method.full_name}: this rule is not understood"
        raise ValueError(message)
    path: str = getattr(rule, verb)
    for name in re.findall(r"\{(.*?)\}", path):
        if name not in method.input_type.fields_by_name:
            message = f"{method.full_name}: {name} is no field of the request"
            raise ValueError(message)
    pieces = re.split(r"\{(\w+)\}", path)
    pattern = "".join(f"(?P<{piece}>[^/:]+)" if odd % 2 else re.escape(piece) for odd, piece in enumerate(pieces))
    return Binding(
        verb=verb.upper(),
        path=path,
        pattern=re.compile(pattern),
        body=rule.body,
        method=f"/{method.containing_service.full_name}/{method.name}",
        streams=method.server_streaming,
        request=method.input_type,
        request_class=GetMessageClass(method.input_type),
        response_class=GetMessageClass(method.output_type),
    )


class Transcoder:
    """Turns requests into calls and what comes of them into responses.

    Args:
        channel: where the calls go.
        bindings: the addresses.
        metadata_of: who calls, by the request.
    """

    def __init__(
        self, channel: Channel, bindings: Sequence[Binding], metadata_of: Callable[[Request], Metadata]
    ) -> None:
        self._channel = channel
        self._bindings = bindings
        self._metadata_of = metadata_of

    async def answer(self, request: Request) -> Response:
        """Answer one request.

        Raises:
            CallFailed: refused, by this door or by the service.
        """
        binding, fields = self._find(request)
        request.scope[PATTERN] = binding.path
        metadata = self._metadata_of(request)
        message = await _message_of(request, binding, fields)
        if binding.streams:
            responses = self._channel.stream(binding.method, message, binding.response_class, metadata)
            return await stream_response(request, responses, _token_of)
        response = await self._channel.unary(binding.method, message, binding.response_class, metadata)
        return Response(await to_json(response), 200, {"cache-control": "no-store"}, JSON)

    def _find(self, request: Request) -> tuple[Binding, dict[str, str]]:
        path, verb = request.url.path, "GET" if request.method == "HEAD" else request.method
        others: list[str] = []
        for binding in self._bindings:
            match = binding.pattern.fullmatch(path)
            if match is None:
                continue
            if binding.verb == verb and not (request.method == "HEAD" and binding.streams):
                return binding, match.groupdict()
            others.append(binding.verb)
        if others:
            text = f"{path} takes {' or '.join(sorted(set(others)))}"
            raise unacceptable(code_pb2.UNIMPLEMENTED, "NOT_IMPLEMENTED", text, http_code=405)
        raise unacceptable(code_pb2.UNIMPLEMENTED, "NOT_IMPLEMENTED", "there is nothing at this address", http_code=404)


async def _message_of(request: Request, binding: Binding, fields: dict[str, str]) -> Message:
    descriptor = binding.request
    size = 0
    if binding.body:
        raw = await read_body(request)
        size = len(raw)
        value: Any = parse_json(raw) if raw.strip() else {}
        if not isinstance(value, dict):
            raise invalid([Problem("", "must be an object")])
        if request.url.query:
            raise invalid([Problem(next(iter(request.query_params)), "belongs into the body")])
    else:
        value = _value_of(descriptor, request.query_params.multi_items())
    for name, text in fields.items():
        for known in (name, descriptor.fields_by_name[name].json_name):
            if known in value:
                raise invalid([Problem(known, "is part of the address and cannot be given again")])
        value[name] = text
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key and "request_id" in descriptor.fields_by_name and not (value.get("request_id") or value.get("requestId")):
        _forget(descriptor, value, "request_id")
        value["request_id"] = key
    reached = request.headers.get(LAST_EVENT_ID)
    if reached and binding.streams and "resume_token" in descriptor.fields_by_name:
        _forget(descriptor, value, *STARTS)
        value["resume_token"] = reached
    return await from_json(binding.request_class, value, size)


def _forget(descriptor: Descriptor, value: dict[str, Any], *names: str) -> None:
    """Take fields out, by whichever of their two names they are there."""
    for name in names:
        if (field := descriptor.fields_by_name.get(name)) is not None:
            value.pop(field.name, None)
            value.pop(field.json_name, None)


def _value_of(descriptor: Descriptor, parameters: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Parameters as the JSON that they stand for."""
    value: dict[str, Any] = {}
    problems: list[Problem] = []
    for path, text in parameters:
        problem = _put(descriptor, value, path.split("."), text)
        if problem:
            problems.append(Problem(path[:128], problem))
    if problems:
        raise invalid(problems)
    return value


def _put(descriptor: Descriptor, value: dict[str, Any], path: list[str], text: str) -> str:
    """Put one parameter where it belongs; returns what is wrong with it, or nothing."""
    name, *rest = path
    field = next((each for each in descriptor.fields if name in (each.json_name, each.name)), None)
    if field is None:
        return "there is no such parameter"
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        if not rest:
            return "name the key, as in field.key=value"
        value.setdefault(field.name, {})[".".join(rest)] = _plain(message.fields_by_name["value"], text)
        return ""
    if rest:
        if message is None or field.is_repeated:
            return "there is no such parameter"
        return _put(message, value.setdefault(field.name, {}), rest, text)
    if field.is_repeated:
        value.setdefault(field.name, []).append(_plain(field, text))
        return ""
    if field.name in value:
        return "is there twice"
    value[field.name] = _plain(field, text)
    return ""


def _plain(field: FieldDescriptor, text: str) -> Any:
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"true": True, "false": False}.get(text, text)
    return text


def _token_of(message: Message) -> str:
    return getattr(message, "resume_token", "")
