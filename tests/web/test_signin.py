"""Signing in to the page: a cookie that scripts cannot read, and requests that another page could have sent."""

from __future__ import annotations

import httpx

from tests.web.doors import WebWorld
from tests.web.test_transcoder import SPECIFICATION, create, error_of

CSRF = {"x-tenure-csrf": "1"}
BODY = {"items": [{"specification": SPECIFICATION}]}
HOUR_S = 3600.0


async def signed_in(world: WebWorld, role: str = "user") -> httpx.AsyncClient:
    browser = world.client()
    token = await world.server.token(role, role)
    response = await browser.post("/session", json={"token": token})
    assert response.status_code == 200, response.text
    assert response.json() == {"role": role}
    assert token not in str(response.headers)
    return browser


async def test_the_cookie_is_for_this_origin_and_no_script(world: WebWorld) -> None:
    browser = world.client()
    token = await world.server.token("admin", "admin")
    response = await browser.post("/session", json={"token": token})
    cookie = response.headers["set-cookie"].lower()
    for word in ("httponly", "samesite=strict", "path=/"):
        assert word in cookie
    assert response.headers["cache-control"] == "no-store"
    assert (await browser.get("/session")).json() == {"role": "admin"}
    assert (await browser.get("/v1/store")).status_code == 200


async def test_reading_needs_the_cookie_alone(world: WebWorld) -> None:
    browser = await signed_in(world)
    assert (await browser.get("/v1/jobs")).json()["jobs"] == []
    assert (await browser.get("/v1/store")).status_code == 403


async def test_changing_needs_proof_of_its_origin(world: WebWorld) -> None:
    browser = await signed_in(world)
    assert error_of(await browser.post("/v1/jobs", json=BODY)) == (403, "CREDENTIALS_INVALID", [])
    foreign: tuple[dict[str, str], ...] = (
        {**CSRF, "origin": "http://evil.example"},
        {**CSRF, "origin": "null"},
        {**CSRF, "sec-fetch-site": "cross-site"},
        {**CSRF, "sec-fetch-site": "same-site"},
    )
    for headers in foreign:
        assert error_of(await browser.post("/v1/jobs", json=BODY, headers=headers))[0] == 403
    assert (await browser.get("/v1/jobs")).json()["jobs"] == []
    ours = {**CSRF, "origin": world.url, "sec-fetch-site": "same-origin"}
    assert (await browser.post("/v1/jobs", json=BODY, headers=ours)).status_code == 200
    assert (await browser.post("/v1/jobs", json=BODY, headers=CSRF)).status_code == 200


async def test_a_token_in_the_header_counts_before_the_cookie(world: WebWorld) -> None:
    browser = await signed_in(world)
    other = {"authorization": f"Bearer {await world.server.token('user', 'other')}"}
    response = await browser.post("/v1/jobs", json=BODY, headers=other)
    assert response.status_code == 200
    job_id = response.json()["responses"][0]["id"]
    assert (await browser.get(f"/v1/jobs/{job_id}")).status_code == 404


async def test_the_older_apis_do_not_look_at_the_cookie(world: WebWorld) -> None:
    browser = await signed_in(world, "admin")
    await create(world.client(await world.server.token("user", "user")))
    for address in ("/api/jobs/browse", "/jobs", "/work?machine_id=m&container_group_id=default"):
        assert (await browser.get(address)).status_code == 401


async def test_signing_out(world: WebWorld) -> None:
    browser = await signed_in(world)
    cookies = dict(browser.cookies)
    assert (await browser.delete("/session")).status_code == 403
    assert (await browser.delete("/session", headers=CSRF)).status_code == 200
    assert dict(browser.cookies) == {}
    kept = world.client(cookie="; ".join(f"{name}={value}" for name, value in cookies.items()))
    assert (await kept.get("/v1/jobs")).status_code == 401
    assert (await kept.get("/session")).status_code == 401


async def test_a_session_ends(world: WebWorld) -> None:
    browser = await signed_in(world)
    world.clock.freeze(11 * HOUR_S)
    assert (await browser.get("/v1/jobs")).status_code == 200
    world.clock.freeze(12 * HOUR_S)
    assert (await browser.get("/v1/jobs")).status_code == 401
    browser = await signed_in(world)
    for _ in range(16):
        assert (await browser.get("/v1/jobs")).status_code == 200
        world.clock.freeze(10.5 * HOUR_S)
    assert (await browser.get("/v1/jobs")).status_code == 401


async def test_a_revoked_token_ends_it_too(world: WebWorld) -> None:
    admin = await world.admin_client()
    made = (await admin.post("/v1/tokens", json={"role": "ROLE_USER", "subject": "somebody"})).json()
    browser = world.client()
    assert (await browser.post("/session", json={"token": made["secret"]})).status_code == 200
    await admin.delete(f"/v1/tokens/{made['token']['id']}")
    assert (await browser.get("/v1/jobs")).status_code == 401
    assert (await browser.get("/session")).status_code == 401


async def test_who_may_not_sign_in(world: WebWorld) -> None:
    browser = world.client()
    worker = await world.server.token("worker", "w")
    assert error_of(await browser.post("/session", json={"token": "tnr_wrong"})) == (401, "CREDENTIALS_INVALID", [])
    assert error_of(await browser.post("/session", json={"token": worker}))[:2] == (403, "ROLE_NOT_ALLOWED")
    assert error_of(await browser.post("/session", json={})) == (400, "INVALID_FIELD", ["token"])
    assert error_of(await browser.post("/session", json=["x"])) == (400, "INVALID_FIELD", ["token"])
    user = await world.server.token("user", "u")
    foreign = {"origin": "http://evil.example"}
    assert error_of(await browser.post("/session", json={"token": user}, headers=foreign))[0] == 403
    assert dict(browser.cookies) == {}
    assert (await world.client(cookie="tenure_session=guessed").get("/v1/jobs")).status_code == 401
