"""What all calls share: whoever is refused at the door leaves nothing behind there."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from tenure.controlplane.permissions import Role
from tenure.controlplane.pipeline import UNKNOWN, Context, Kind, Limits, Method, Pipeline, Place
from tenure.domain.errors import Reason, Refused
from tenure.v1 import job_service_pb2
from tests.controlplane.hosted import hosted
from tests.fakes import SequenceIds


class Deaf:
    """The context of a call whose caller takes nothing: gRPC is never done with it."""

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        """It is not called."""


@pytest.mark.parametrize("role", [None, Role.WORKER])
async def test_who_is_refused_holds_no_place_of_those_to_be_looked_up(role: Role | None) -> None:
    """Even those who never take the refusal, for which gRPC would wait."""
    async with hosted({}) as server:
        secret = (await server.bearer(role))[0][1].removeprefix("Bearer ") if role is not None else "tnr_nobody"
        pipeline = Pipeline(server.tokens, SequenceIds(), Limits(calls=4))
        method = Method(
            "/tenure.v1.JobService/RetrieveJob",
            frozenset({Role.USER}),
            Kind.UNARY,
            job_service_pb2.RetrieveJobRequest,
            None,
            False,
        )
        for _ in range(10):
            place = Place(pipeline, pipeline.calls, UNKNOWN, cast(Context, Deaf()))
            with pytest.raises(Refused) as refused:
                await pipeline.admit(secret, method, place)
            assert refused.value.reason in (Reason.CREDENTIALS_INVALID, Reason.ROLE_NOT_ALLOWED)
