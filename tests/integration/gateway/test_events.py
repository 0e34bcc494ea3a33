"""Event streams: shared, resumed, ended, and released when the browser leaves."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import orjson

Event = tuple[str, str, Any]


@contextmanager
def stream(site: Any, path: str, last_id: str = "") -> Iterator[Iterator[Event]]:
    """Open an event stream and yield (id, name, data)."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
    url = f"{site.gateway.url}/api/v1/projects/default/{path}"
    with httpx.stream("GET", url, headers=headers, timeout=15) as response:
        assert response.status_code == 200
        yield parsed(response)


def parsed(response: httpx.Response) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield fields.get("id", ""), fields["event"], orjson.loads(fields["data"])
            fields = {}


def held_job(site: Any) -> str:
    site.jobs["train"].hold = True
    return str(site.jobs["train"].submit("key", {}).id)


def test_a_job_is_watched_to_its_end(site: Any) -> None:
    job = held_job(site)
    with stream(site, f"jobs/{job}/events") as events:
        assert next(events)[2]["state"] == "running"
        site.jobs["train"].release()
        rest = list(events)
    assert rest[-2][2]["state"] == "succeeded"
    assert rest[-1][1] == "end"


def test_a_log_is_followed_and_goes_on_behind_the_last_line_seen(site: Any) -> None:
    job = held_job(site)
    site.jobs["train"].write("one", "two", "<script>alert(1)</script>")
    with stream(site, f"jobs/{job}/log?follow=true") as events:
        seen = [next(events) for _ in range(3)]
        site.jobs["train"].write("four")
        seen.append(next(events))
    assert [data["text"] for _, _, data in seen] == ["one", "two", "<script>alert(1)</script>", "four"]
    site.jobs["train"].write("five")
    site.jobs["train"].release()
    with stream(site, f"jobs/{job}/log?follow=true", last_id=seen[1][0]) as events:
        rest = list(events)
    assert [data["seq"] for _, name, data in rest if name == "line"] == [3, 4, 5]
    lines = site.call("GET", f"jobs/{job}/log?after_seq=3").json()["lines"]
    assert [line["text"] for line in lines] == ["four", "five"]


def test_many_browsers_share_one_upstream(site: Any) -> None:
    job = held_job(site)
    ready = threading.Barrier(11)

    def watch(_: int) -> str:
        with stream(site, f"jobs/{job}/events") as events:
            next(events)
            ready.wait(10)
            return str([event[2] for event in events if event[1] == "change"][-1]["state"])

    with ThreadPoolExecutor(10) as pool:
        found = [pool.submit(watch, n) for n in range(10)]
        ready.wait(10)
        site.jobs["train"].release()
        assert {one.result(10) for one in found} == {"succeeded"}
    assert site.jobs["train"].watches == 1


def test_a_browser_that_leaves_releases_the_upstream(site: Any) -> None:
    job = held_job(site)
    with stream(site, f"jobs/{job}/events") as events:
        next(events)
    hub = site.gateway.app.state.gateway.hub
    deadline = time.monotonic() + 10
    while (hub.streams or hub.subjects) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (hub.streams, hub.subjects) == (0, {})


def test_silence_is_filled_with_comments(site: Any) -> None:
    job = held_job(site)
    url = f"{site.gateway.url}/api/v1/projects/default/jobs/{job}/log?follow=true"
    with httpx.stream("GET", url, headers={"Accept": "text/event-stream"}, timeout=10) as response:
        assert any(line.startswith(": ") for line in response.iter_lines())


def test_a_lifecycle_is_watched_live(site: Any) -> None:
    site.jobs["train"].hold = True
    text = "name: w\ndata: {dataset: digits, uploads: [{id: upl_1}]}\ntrain: {model: resnet_small}\n"
    found = site.apply(text)
    states = []
    with stream(site, f"lifecycles/{found['id']}/events") as events:
        for _, name, data in events:
            if name == "change":
                states.append([stage["state"] for stage in data["stages"]])
                if states[-1][1] == "running":
                    site.jobs["train"].release()
    assert states[-1] == ["succeeded", "succeeded"]


def test_nothing_that_is_not_there_is_streamed(site: Any) -> None:
    for path in ("jobs/job_none/events", "jobs/job_none/log", "lifecycles/lif_none/events"):
        assert site.call("GET", path, headers={"Accept": "text/event-stream"}).status_code == 404


def test_jobs_of_all_services_are_listed_together_page_by_page(site: Any) -> None:
    for number in range(7):
        site.jobs[("data", "train", "compress")[number % 3]].submit(f"key{number}", {})
    token, found = "", []
    while True:
        page = site.call("GET", f"jobs?page_size=2&page_token={token}").json()
        found += [job["id"] for job in page["jobs"]]
        token = page["next_page_token"]
        if not token:
            break
    assert len(found) == len(set(found)) == 7
    assert site.call("GET", "jobs?page_token=e30x").status_code == 422


def test_blobs_that_no_service_names_are_collected(site: Any) -> None:
    blobs = site.gateway.app.state.gateway.blobs
    kept, lost = blobs.put_bytes(b"kept"), blobs.put_bytes(b"lost")
    site.references["serve"].digests = [kept]
    dry = site.call("POST", "/api/v1/gc").json()
    assert (dry["dry_run"], dry["digests"], dry["deleted"]) == (True, [lost], 0)
    assert blobs.exists(lost)
    done = site.call("POST", "/api/v1/gc", json={"dry_run": False}).json()
    assert (done["deleted"], blobs.exists(lost), blobs.exists(kept)) == (1, False, True)


def test_nothing_is_collected_while_a_service_is_away(site: Any) -> None:
    blobs = site.gateway.app.state.gateway.blobs
    lost = blobs.put_bytes(b"lost")
    site.servers["compress"].stop(0)
    assert site.call("POST", "/api/v1/gc", json={"dry_run": False}).status_code == 503
    assert blobs.exists(lost)


def test_everything_on_the_page_is_escaped(site: Any) -> None:
    site.jobs["train"].error = "<script>alert(1)</script>"
    site.jobs["train"].submit("key", {})
    page = site.call("GET", "/").text
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
