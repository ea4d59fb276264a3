"""WebhookService: the endpoints of owners, and what was announced to them."""

from __future__ import annotations

from collections.abc import Sequence

from tenure.controlplane.call import Call
from tenure.controlplane.pages import Pages
from tenure.controlplane.permissions import Role
from tenure.controlplane.times import from_duration, set_timestamp
from tenure.controlplane.tokens import Identity
from tenure.controlplane.webhooks.announcing import Webhooks
from tenure.controlplane.webhooks.endpoints import Wanted
from tenure.controlplane.webhooks.signing import shown
from tenure.controlplane.webhooks.targets import parse_target
from tenure.domain.errors import Reason, Refused
from tenure.store.outbox import Backlog, Delivery, DeliveryFilter, DeliveryState, Endpoint
from tenure.store.store import Store
from tenure.v1 import webhook_service_pb2 as pb

PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
OVERLAP_US = 24 * 3600 * 1_000_000
REPLAYED_AT_ONCE = 1000

_STATES = {
    pb.DELIVERY_STATE_PENDING: DeliveryState.PENDING,
    pb.DELIVERY_STATE_DELIVERED: DeliveryState.DELIVERED,
    pb.DELIVERY_STATE_DEAD: DeliveryState.DEAD,
}
_STATE_MESSAGES = {state: number for number, state in _STATES.items()}


class WebhookService:
    """The servicer.

    Args:
        webhooks: knows the endpoints.
        store: has the deliveries.
        pages: makes page tokens.
    """

    def __init__(self, *, webhooks: Webhooks, store: Store, pages: Pages) -> None:
        self._webhooks = webhooks
        self._endpoints = webhooks.endpoints
        self._outbox = store.outbox
        self._pages = pages

    async def upsert_webhooks(self, request: pb.UpsertWebhooksRequest, call: Call) -> pb.UpsertWebhooksResponse:
        """Makes or changes the caller's endpoints, all or none."""
        identity = call.identity
        project = _project(request.project, identity)
        done = await self._endpoints.upsert(self._wanted(request.items), identity.subject, project)
        return pb.UpsertWebhooksResponse(
            responses=[
                pb.UpsertWebhooksResponse.Item(id=endpoint.id, secret=shown(secret) if secret is not None else "")
                for endpoint, secret in done
            ]
        )

    async def browse_webhooks(self, request: pb.BrowseWebhooksRequest, call: Call) -> pb.BrowseWebhooksResponse:
        """A page of the endpoints that the caller may see, the oldest first."""
        after = self._pages.read_text(request, call.identity.principal)
        size = min(request.page_size or PAGE_SIZE, MAX_PAGE_SIZE)
        mine = self._visible(call.identity)
        begin = 0
        if after is not None:
            begin = next((index + 1 for index, one in enumerate(mine) if one.id == after), len(mine))
        page = mine[begin : begin + size]
        backlogs = await self._outbox.backlogs() if page else {}
        response = pb.BrowseWebhooksResponse(webhooks=[_webhook(one, backlogs.get(one.id, Backlog())) for one in page])
        if begin + size < len(mine):
            response.next_page_token = self._pages.make((page[-1].id,), request, call.identity.principal)
        return response

    async def delete_webhooks(self, request: pb.DeleteWebhooksRequest, call: Call) -> pb.DeleteWebhooksResponse:
        """Removes endpoints, all or none."""
        for index, endpoint_id in enumerate(request.ids):
            self._find(endpoint_id, call.identity, f"ids[{index}]")
        await self._endpoints.remove(list(dict.fromkeys(request.ids)))
        return pb.DeleteWebhooksResponse()

    async def rotate_webhook_secret(
        self, request: pb.RotateWebhookSecretRequest, call: Call
    ) -> pb.RotateWebhookSecretResponse:
        """Makes a new secret; the secret is in this answer and nowhere else."""
        overlap_us = from_duration(request.overlap, "overlap") if request.HasField("overlap") else OVERLAP_US
        self._find(request.id, call.identity, "id")
        secret = await self._endpoints.rotate(request.id, overlap_us)
        if secret is None:
            raise _not_found("id")
        return pb.RotateWebhookSecretResponse(secret=shown(secret))

    async def browse_deliveries(self, request: pb.BrowseDeliveriesRequest, call: Call) -> pb.BrowseDeliveriesResponse:
        """A page of the deliveries that the caller may see, the newest first."""
        after = self._pages.read_text(request, call.identity.principal)
        size = min(request.page_size or PAGE_SIZE, MAX_PAGE_SIZE)
        wanted = DeliveryFilter(
            endpoint_ids=self._ids(request.webhook_id, call.identity),
            job_id=request.job_id,
            state=_STATES.get(request.state),
        )
        found = await self._outbox.browse(wanted, int(after) if after is not None else None, size + 1)
        response = pb.BrowseDeliveriesResponse(deliveries=[_delivery(one) for one in found[:size]])
        if len(found) > size:
            key = (str(found[size - 1].number),)
            response.next_page_token = self._pages.make(key, request, call.identity.principal)
        return response

    async def replay_deliveries(self, request: pb.ReplayDeliveriesRequest, call: Call) -> pb.ReplayDeliveriesResponse:
        """Has deliveries made again, in the order of each job."""
        wanted = self._replayed(request, call.identity)
        replayed, after = 0, None
        while True:
            page = await self._outbox.browse(wanted, after, REPLAYED_AT_ONCE, descending=False)
            if page:
                numbers = [one.number for one in page if one.state is not DeliveryState.PENDING]
                replayed += await self._webhooks.replay(numbers, {one.host for one in page})
                after = page[-1].number
            if len(page) < REPLAYED_AT_ONCE:
                return pb.ReplayDeliveriesResponse(replayed=replayed)

    def _wanted(self, items: Sequence[pb.WebhookSpecification]) -> list[Wanted]:
        seen: set[str] = set()
        wanted = []
        for index, item in enumerate(items):
            field = f"items[{index}].url"
            if item.url in seen:
                raise Refused(Reason.INVALID_FIELD, "this URL is there twice", field=field)
            seen.add(item.url)
            parse_target(item.url, self._endpoints.rules, field)
            wanted.append(Wanted(url=item.url, event_types=tuple(item.event_types), disabled=item.disabled))
        return wanted

    def _replayed(self, request: pb.ReplayDeliveriesRequest, identity: Identity) -> DeliveryFilter:
        """Which deliveries are to be made again."""
        others = request.webhook_id or request.job_id or request.state or request.from_position
        if bool(request.ids) == bool(others):
            raise Refused(Reason.INVALID_FIELD, "name deliveries, or a webhook with or without the rest", field="ids")
        if request.ids:
            mine = {one.id for one in self._visible(identity)}
            keys = ((endpoint_id, int(position)) for _, position, endpoint_id in (i.split("-", 2) for i in request.ids))
            return DeliveryFilter(keys=frozenset(key for key in keys if key[0] in mine))
        if not request.webhook_id:
            raise Refused(Reason.INVALID_FIELD, "name the webhook", field="webhook_id")
        return DeliveryFilter(
            endpoint_ids=self._ids(request.webhook_id, identity),
            job_id=request.job_id,
            state=_STATES.get(request.state, DeliveryState.DEAD),
            from_position=request.from_position,
        )

    def _ids(self, endpoint_id: str, identity: Identity) -> frozenset[str] | None:
        """The endpoint asked for, or all that the caller may see; None: any."""
        if endpoint_id:
            return frozenset({self._find(endpoint_id, identity, "webhook_id").id})
        if identity.role == Role.ADMIN:
            return None
        return frozenset(one.id for one in self._visible(identity))

    def _visible(self, identity: Identity) -> list[Endpoint]:
        return [one for one in self._endpoints.all() if _may_see(identity, one)]

    def _find(self, endpoint_id: str, identity: Identity, field: str) -> Endpoint:
        endpoint = self._endpoints.get(endpoint_id)
        if endpoint is None or not _may_see(identity, endpoint):
            raise _not_found(field)
        return endpoint


def _may_see(identity: Identity, endpoint: Endpoint) -> bool:
    if identity.role == Role.ADMIN or endpoint.created_by == identity.subject:
        return True
    return identity.project != "" and endpoint.project == identity.project


def _not_found(field: str) -> Refused:
    return Refused(Reason.WEBHOOK_NOT_FOUND, "there is no such webhook, or you may not see it", field=field)


def _project(asked: str, identity: Identity) -> str:
    if not asked or asked == identity.project:
        return identity.project
    if identity.role == Role.ADMIN:
        return asked
    raise Refused(Reason.ROLE_NOT_ALLOWED, "your token is not of that project", field="project")


def _webhook(endpoint: Endpoint, backlog: Backlog) -> pb.Webhook:
    message = pb.Webhook(id=endpoint.id, disabled_reason=endpoint.disabled, pending=backlog.pending, dead=backlog.dead)
    message.specification.url = endpoint.url
    message.specification.event_types.extend(endpoint.event_types)
    message.specification.disabled = bool(endpoint.disabled)
    message.owner.created_by, message.owner.project = endpoint.created_by, endpoint.project
    set_timestamp(message.created_at, endpoint.created_us)
    *older, newest = endpoint.secrets
    set_timestamp(message.secret_created_at, newest.made_us)
    until = [secret.until_us for secret in older if secret.until_us is not None]
    if until:
        set_timestamp(message.old_secret_until, max(until))
    return message


def _delivery(one: Delivery) -> pb.Delivery:
    message = pb.Delivery(
        id=one.id,
        webhook_id=one.endpoint_id,
        job_id=one.job_id,
        type=one.type,
        sequence=one.sequence,
        position=one.position,
        state=_STATE_MESSAGES[one.state],
        attempts=one.attempts,
        status_code=one.status,
        error=one.error,
    )
    set_timestamp(message.created_at, one.made_us)
    if one.tried_us is not None:
        set_timestamp(message.last_attempt_at, one.tried_us)
    if one.next_us is not None:
        set_timestamp(message.next_attempt_at, one.next_us)
    return message
