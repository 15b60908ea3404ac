"""Reads one SSE stream with httpx-sse and prints what it gets, one JSON object a line."""

import argparse
import json
import ssl

import httpx
from httpx_sse import connect_sse


def say(**what) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--http2", action="store_true")
    parser.add_argument("--ca")
    parser.add_argument("--last-event-id")
    options = parser.parse_args()
    headers = {"Last-Event-ID": options.last_event_id} if options.last_event_id else {}
    verify = ssl.create_default_context(cafile=options.ca) if options.ca else True
    timeout = httpx.Timeout(10, read=60)
    with httpx.Client(http2=options.http2, verify=verify, timeout=timeout) as client:
        with connect_sse(client, "GET", options.url, headers=headers) as source:
            say(open=source.response.status_code, version=source.response.http_version)
            try:
                for event in source.iter_sse():
                    say(id=event.id, type=event.event, data=event.data)
                say(end="complete")
            except httpx.RemoteProtocolError as error:
                say(end="cut", why=str(error))


if __name__ == "__main__":
    main()
