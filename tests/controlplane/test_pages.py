"""Page tokens: for the same caller and the same question only."""

from __future__ import annotations

import base64

import pytest

from tenure.controlplane.pages import Pages
from tenure.domain.errors import Reason, Refused
from tenure.v1 import job_service_pb2, queue_service_pb2

PAGES = Pages(b"k" * 32)
ALICE = "user:alice"


def request(token: str = "", size: int = 10, label: str = "a") -> job_service_pb2.BrowseJobsRequest:
    flags = job_service_pb2.JobFlags(filter_labels={"x": label, "y": "b"})
    return job_service_pb2.BrowseJobsRequest(flags=flags, page_size=size, page_token=token)


def refused(message: job_service_pb2.BrowseJobsRequest, principal: str = ALICE, pages: Pages = PAGES) -> bool:
    with pytest.raises(Refused) as error:
        pages.read(message, principal)
    assert error.value.field == "page_token"
    return error.value.reason is Reason.PAGE_TOKEN_INVALID


def test_the_first_page_has_no_token() -> None:
    assert PAGES.read(request(), ALICE) is None
    assert PAGES.read_text(queue_service_pb2.BrowseQueuesRequest(), ALICE) is None


def test_a_token_gives_its_key_back_whatever_the_size_of_the_page() -> None:
    token = PAGES.make((-5, 1234567890123), request(), ALICE)
    assert PAGES.read(request(token), ALICE) == (-5, 1234567890123)
    assert PAGES.read(request(token, size=500), ALICE) == (-5, 1234567890123)


def test_a_text_is_a_key_too() -> None:
    ask = queue_service_pb2.BrowseQueuesRequest()
    ask.page_token = PAGES.make(("gpu-ü",), ask, ALICE)
    assert PAGES.read_text(ask, ALICE) == "gpu-ü"
    with pytest.raises(Refused):
        PAGES.read(ask, ALICE)


def test_a_token_is_of_one_caller_one_question_one_server() -> None:
    token = PAGES.make((1, 2), request(), ALICE)
    assert refused(request(token), "user:bob")
    assert refused(request(token, label="other"))
    assert refused(request(token), pages=Pages(b"other key"))
    other = request(token)
    other.sort_by = job_service_pb2.JOB_SORT_BY_EXPIRES_AT
    assert refused(other)
    ask = queue_service_pb2.BrowseQueuesRequest(page_token=token)
    with pytest.raises(Refused):
        PAGES.read_text(ask, ALICE)


@pytest.mark.parametrize("token", ["x", "!!", "AQ", "é", "A" * 1000])
def test_garbage_is_refused(token: str) -> None:
    assert refused(request(token))


def test_every_changed_byte_is_noticed() -> None:
    token = PAGES.make((1, 2), request(), ALICE)
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for index in range(len(raw)):
        forged = raw[:index] + bytes([raw[index] ^ 1]) + raw[index + 1 :]
        assert refused(request(base64.urlsafe_b64encode(forged).decode().rstrip("=")))
