"""The announcements of a caller's jobs: `client.webhooks` of both clients, the same methods on both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator

import grpc
from google.protobuf.duration_pb2 import Duration

from tenure.client.admin import AsyncCall, SyncCall
from tenure.v1 import webhook_service_pb2 as pb
from tenure.v1 import webhook_service_pb2_grpc


class Webhooks:
    """`client.webhooks` for asyncio."""

    def __init__(self, channel: grpc.aio.Channel, call: AsyncCall) -> None:
        self._stub = webhook_service_pb2_grpc.WebhookServiceStub(channel)
        self._call = call

    async def upsert(self, items: Iterable[pb.WebhookSpecification], *, project: str = "") -> pb.UpsertWebhooksResponse:
        """Make or change endpoints, all or none; the answer has their ids, and the secrets of new ones. Not repeated by
        itself: after UNAVAILABLE they may be there, and `rotate` gives the secret of one that is."""
        request = pb.UpsertWebhooksRequest(items=items, project=project)
        return await self._call(self._stub.UpsertWebhooks, request, repeat=False)

    async def browse(self, *, page_size: int = 0) -> AsyncIterator[pb.Webhook]:
        """The endpoints, the oldest first, without their secrets; pages are fetched as they are needed."""
        request = pb.BrowseWebhooksRequest(page_size=page_size)
        while True:
            page = await self._call(self._stub.BrowseWebhooks, request)
            for webhook in page.webhooks:
                yield webhook
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def delete(self, ids: Iterable[str]) -> None:
        """Remove endpoints with everything that waits for them, all or none. Not repeated by itself: after UNAVAILABLE
        they may be gone, and WEBHOOK_NOT_FOUND says that they are."""
        await self._call(self._stub.DeleteWebhooks, pb.DeleteWebhooksRequest(ids=ids), repeat=False)

    async def rotate(self, webhook_id: str, *, overlap: Duration | None = None) -> str:
        """Make a new secret, which is shown nowhere else; those there are sign beside it for so long (24 h)."""
        request = pb.RotateWebhookSecretRequest(id=webhook_id, overlap=overlap)
        return (await self._call(self._stub.RotateWebhookSecret, request)).secret

    async def deliveries(
        self,
        *,
        webhook_id: str = "",
        job_id: str = "",
        state: pb.DeliveryState.ValueType = pb.DELIVERY_STATE_UNSPECIFIED,
        page_size: int = 0,
    ) -> AsyncIterator[pb.Delivery]:
        """The deliveries that match, the newest first; pages are fetched as they are needed."""
        request = pb.BrowseDeliveriesRequest(webhook_id=webhook_id, job_id=job_id, state=state, page_size=page_size)
        while True:
            page = await self._call(self._stub.BrowseDeliveries, request)
            for delivery in page.deliveries:
                yield delivery
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def replay(
        self,
        *,
        ids: Iterable[str] = (),
        webhook_id: str = "",
        job_id: str = "",
        state: pb.DeliveryState.ValueType = pb.DELIVERY_STATE_UNSPECIFIED,
        from_position: int = 0,
    ) -> int:
        """Have deliveries made again: these, or those of an endpoint (dead ones unless told otherwise); how many."""
        request = pb.ReplayDeliveriesRequest(
            ids=ids, webhook_id=webhook_id, job_id=job_id, state=state, from_position=from_position
        )
        return (await self._call(self._stub.ReplayDeliveries, request)).replayed


class SyncWebhooks:
    """`client.webhooks` for threads."""

    def __init__(self, channel: grpc.Channel, call: SyncCall) -> None:
        self._stub = webhook_service_pb2_grpc.WebhookServiceStub(channel)
        self._call = call

    def upsert(self, items: Iterable[pb.WebhookSpecification], *, project: str = "") -> pb.UpsertWebhooksResponse:
        """Make or change endpoints, all or none; the answer has their ids, and the secrets of new ones. Not repeated by
        itself: after UNAVAILABLE they may be there, and `rotate` gives the secret of one that is."""
        request = pb.UpsertWebhooksRequest(items=items, project=project)
        return self._call(self._stub.UpsertWebhooks, request, repeat=False)

    def browse(self, *, page_size: int = 0) -> Iterator[pb.Webhook]:
        """The endpoints, the oldest first, without their secrets; pages are fetched as they are needed."""
        request = pb.BrowseWebhooksRequest(page_size=page_size)
        while True:
            page = self._call(self._stub.BrowseWebhooks, request)
            yield from page.webhooks
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def delete(self, ids: Iterable[str]) -> None:
        """Remove endpoints with everything that waits for them, all or none. Not repeated by itself: after UNAVAILABLE
        they may be gone, and WEBHOOK_NOT_FOUND says that they are."""
        self._call(self._stub.DeleteWebhooks, pb.DeleteWebhooksRequest(ids=ids), repeat=False)

    def rotate(self, webhook_id: str, *, overlap: Duration | None = None) -> str:
        """Make a new secret, which is shown nowhere else; those there are sign beside it for so long (24 h)."""
        request = pb.RotateWebhookSecretRequest(id=webhook_id, overlap=overlap)
        return self._call(self._stub.RotateWebhookSecret, request).secret

    def deliveries(
        self,
        *,
        webhook_id: str = "",
        job_id: str = "",
        state: pb.DeliveryState.ValueType = pb.DELIVERY_STATE_UNSPECIFIED,
        page_size: int = 0,
    ) -> Iterator[pb.Delivery]:
        """The deliveries that match, the newest first; pages are fetched as they are needed."""
        request = pb.BrowseDeliveriesRequest(webhook_id=webhook_id, job_id=job_id, state=state, page_size=page_size)
        while True:
            page = self._call(self._stub.BrowseDeliveries, request)
            yield from page.deliveries
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def replay(
        self,
        *,
        ids: Iterable[str] = (),
        webhook_id: str = "",
        job_id: str = "",
        state: pb.DeliveryState.ValueType = pb.DELIVERY_STATE_UNSPECIFIED,
        from_position: int = 0,
    ) -> int:
        """Have deliveries made again: these, or those of an endpoint (dead ones unless told otherwise); how many."""
        request = pb.ReplayDeliveriesRequest(
            ids=ids, webhook_id=webhook_id, job_id=job_id, state=state, from_position=from_position
        )
        return self._call(self._stub.ReplayDeliveries, request).replayed
