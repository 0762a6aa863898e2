"""PyPI's httpx-sse, which parses; this script comes back with the last id, after the time that the stream asked for.

Each event is told as a line of JSON: [type, id, data].
    python httpx-sse.py URL [AUTHORITY]
"""

import json
import ssl
import sys
import time

import httpx
from httpx_sse import connect_sse

url = sys.argv[1]
trusted = ssl.create_default_context(cafile=sys.argv[2]) if len(sys.argv) > 2 else True
last_event_id = ""
retry = 3.0

with httpx.Client(timeout=httpx.Timeout(None), trust_env=False, verify=trusted) as client:
    while True:
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        try:
            with connect_sse(client, "GET", url, headers=headers) as source:
                for event in source.iter_sse():
                    last_event_id = event.id
                    retry = event.retry / 1000 if event.retry is not None else retry
                    print(json.dumps([event.event, event.id, event.data]), flush=True)
        except httpx.TransportError as error:
            print(f"cut off: {error!r}", file=sys.stderr)
        time.sleep(retry)
