"""Event streams: parsed as the standard says, followed over cut connections."""

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from modelwright import Client
from modelwright.client.events import parse_events

STREAM = b': hello\r\nid: 7\r\nevent: line\r\ndata: {"a":\r\ndata: 1}\r\n\r\ndata: plain\xe2\x80\xa8text\n\ndata: cut'


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_events_do_not_depend_on_how_the_bytes_arrive(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    events = list(parse_events(STREAM[a:b] for a, b in itertools.pairwise(edges)))
    assert [(event.id, event.name, event.data) for event in events] == [
        ("7", "line", {"a": 1}),
        ("7", "message", "plain\u2028text"),
    ]


def test_a_log_is_followed_over_cuts_with_every_line_once(gateway: Any, connect: Any, cutting_proxy: Any) -> None:
    gateway.log = [{"seq": n, "text": f"line {n}", "stream": "stdout"} for n in range(1, 40)]
    proxy = cutting_proxy(gateway.port, downward=[900, 1200])
    lines = list(connect(proxy.url).jobs.follow_log("job_1"))
    assert [line.seq for line in lines] == list(range(1, 40))
    again = [headers.get("last-event-id") for _, path, headers in gateway.requests if path.endswith("/log")]
    assert again[0] is None
    assert all(again[1:])


def test_a_log_is_read_behind_a_line(gateway: Any, client: Client) -> None:
    gateway.log = [{"seq": n, "text": str(n)} for n in range(1, 6)]
    assert [line.seq for line in client.jobs.log("job_1", after_seq=3)] == [4, 5]
