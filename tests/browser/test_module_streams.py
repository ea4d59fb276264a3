"""The page's modules that follow something: streams that break, that are refused, that say nothing for a while."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.processes


async def test_a_lost_stream_goes_on_by_its_token(page: Any) -> None:
    """Broken off, silent about why, then told that its token is too old: nothing is missed, nothing asked for twice."""
    script = """async () => {
      const { follow } = await import('/static/js/live.js');
      const { Refused } = await import('/static/js/api.js');
      const end = new AbortController();
      const opened = [], heard = [], states = [];
      async function* open(token) {
        opened.push(token);
        yield {};
        if (opened.length === 1) {
          yield { resumeToken: 'a', n: 1 };
          yield { resumeToken: 'b', n: 2 };
          throw new Refused({ code: 14, message: 'gone' });
        }
        if (opened.length === 2) throw new Refused({ code: 11, message: 'old', reason: 'RESUME_TOKEN_TOO_OLD' });
        yield { resumeToken: 'd', n: 3 };
        end.abort();
      }
      await follow({
        open, token: 'start', signal: end.signal, restart: async () => 'fresh',
        message: each => heard.push(each.n), state: each => states.at(-1) === each || states.push(each),
      });
      return { opened, heard, states };
    }"""
    told = await page.evaluate(script)
    assert told["opened"] == ["start", "b", "fresh"]
    assert told["heard"] == [1, 2, 3]
    assert "waiting" in told["states"]


async def test_a_stream_that_is_refused_for_the_moment_is_asked_for_again(page: Any) -> None:
    """By a server that is stopping, then by one that is full: a break, and no error for whoever looks."""
    script = """async () => {
      const { follow } = await import('/static/js/live.js');
      const { watchJobs } = await import('/static/js/api.js');
      const end = new AbortController();
      const opened = [], heard = [], states = [];
      const original = window.fetch;
      window.fetch = async path => {
        opened.push(path);
        const [status, code] = [[503, 14], [429, 8]][opened.length - 1] ?? [200, 0];
        if (code) return Response.json({ code, message: 'later', details: [] }, { status });
        return new Response('{"resumeToken": "b", "n": 1}\\n');
      };
      try {
        await follow({
          open: (token, each) => watchJobs({ resumeToken: token }, each), token: 'a', signal: end.signal,
          message: each => { heard.push(each.n); end.abort(); },
          state: each => states.at(-1) === each || states.push(each),
        });
      } finally {
        window.fetch = original;
      }
      return { opened, heard, states };
    }"""
    told = await page.evaluate(script)
    assert told["opened"] == ["/v1/jobs:watch?resumeToken=a"] * 3
    assert told["heard"] == [1]
    assert told["states"] == ["connecting", "waiting", "connecting", "waiting", "connecting", "live"]


async def test_a_refused_stream_is_not_asked_for_again(page: Any) -> None:
    script = """async () => {
      const { follow } = await import('/static/js/live.js');
      const { Refused } = await import('/static/js/api.js');
      let opened = 0;
      const states = [];
      await follow({
        open: async function* () { opened += 1; throw new Refused({ code: 7, message: 'no' }); },
        message: () => {}, state: each => states.push(each), signal: new AbortController().signal,
      });
      return [opened, states];
    }"""
    assert await page.evaluate(script) == [1, ["connecting", "failed"]]


async def test_empty_pieces_of_output_show_nothing_and_are_signs_of_life(page: Any) -> None:
    """Each keeps the connection, makes the next break the first one again, and changes nothing that one sees."""
    script = """async () => {
      const { logsPart } = await import('/static/js/logs.js');
      const end = new AbortController();
      const part = logsPart('job', end.signal);
      const [note, screen] = [part.element.querySelector('.hint'), part.element.querySelector('.screen')];
      const empty = { offset: '4', data: '', attempt: 1, end: false };
      const one = { offset: '0', data: btoa('one\\n'), attempt: 1, end: false };
      const [first, last] = [{ ...empty, offset: '0' }, { ...empty, end: true }];
      const bodies = [[first, one, empty], [empty, empty], [empty], [empty, last]];
      const opened = [], notes = [], times = [];
      const [its_fetch, its_timeout] = [window.fetch, window.setTimeout];
      window.setTimeout = (work, ms, ...more) => {
        times.push(ms);
        return its_timeout(work, ms, ...more);
      };
      window.fetch = async path => {
        opened.push(path);
        return new Response(bodies[opened.length - 1].map(piece => JSON.stringify(piece) + '\\n').join(''));
      };
      try {
        part.show({ id: 'job', status: { attempt: 1 }, attempts: [{ number: 1 }] });
        part.element.querySelector('button').click();
        await new Promise((resolve, reject) => {
          its_timeout(() => reject(new Error(`still: ${note.textContent}`)), 15_000);
          new MutationObserver(() => {
            notes.push(note.textContent);
            if (note.textContent.startsWith('End')) resolve();
          }).observe(note, { childList: true });
        });
      } finally {
        [window.fetch, window.setTimeout] = [its_fetch, its_timeout];
        end.abort();
      }
      return { opened, notes, text: screen.textContent, parts: screen.childNodes.length, times };
    }"""
    told = await page.evaluate(script)
    address = "/v1/jobs/job/logs?attempt=1"
    assert told["opened"] == [address, *[f"{address}&fromOffset=4"] * 3]
    assert (told["text"], told["parts"]) == ("one\n", 1)
    # That it reconnects is said for as long as it does.
    broken = ["Reconnecting …", ""]
    assert told["notes"] == ["", *broken * 3, "End of attempt 1."]
    silence = 30_000
    waits = [time for time in told["times"] if time != silence]
    assert len(waits) == 3
    assert max(waits) <= 650
    # Anew for each connection, when it is agreed to, and for each piece.
    assert told["times"].count(silence) == 4 + 4 + 8


async def test_the_page_of_a_job_asks_again_when_its_answer_was_overtaken(page: Any) -> None:
    """By a heartbeat, which is newer than the answer and does not tell as much."""
    script = """async () => {
      const { jobView } = await import('/static/js/job_view.js');
      const end = new AbortController();
      const original = window.fetch;
      const lines = new TransformStream();
      const writer = lines.writable.getWriter();
      const say = value => writer.write(new TextEncoder().encode(JSON.stringify(value) + '\\n'));
      const status = { state: 'JOB_STATE_RUNNING', attempt: 1 };
      const then = '2026-01-31T12:00:00Z';
      const job = version => ({
        id: 'job', version, status, specification: { command: 'true' }, createdAt: then,
        attempts: [{ number: 1, machineId: 'one', assignedAt: then }],
        updates: Array.from({ length: version }, (_, position) => ({ timestamp: then, position, status: 'so' })),
      });
      const happened = (version, what) =>
        say({ resumeToken: `${version}`, event: { jobId: 'job', status, event: { streamVersion: version, ...what } } });
      let asked = 0, give = null;
      const held = new Promise(resolve => { give = resolve; });
      const patience = Date.now() + 15_000;
      const until = async look => {
        while (!look() && Date.now() < patience) await new Promise(next => setTimeout(next, 10));
      };
      window.fetch = async path => {
        if (path.includes(':watch')) return new Response(lines.readable);
        asked += 1;
        if (asked === 2) await held;
        return Response.json({ job: job([2, 3, 4][asked - 1]), resumeToken: 'a' });
      };
      try {
        const context = { session: { role: 'user' }, signal: end.signal, signedOut: () => {} };
        const { element } = jobView({ path: ['jobs', 'job'], ...context });
        const updates = () => element.querySelectorAll('.updates li').length;
        document.body.append(element);
        await until(() => updates() === 2);
        happened('3', { jobExtended: {} });
        await until(() => asked === 2);
        happened('4', { jobHeartbeat: { attempt: 1, count: '7' } });
        await until(() => element.querySelector('.attempts').textContent.includes('7'));
        give();
        await until(() => updates() === 4);
        element.remove();
        return { asked, shown: updates() };
      } finally {
        window.fetch = original;
        end.abort();
      }
    }"""
    assert await page.evaluate(script) == {"asked": 3, "shown": 4}
