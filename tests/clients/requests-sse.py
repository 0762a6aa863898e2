"""PyPI's requests-sse, which comes back by itself, but gives up after some refused attempts: then it is opened anew.

Each event is told as a line of JSON: [type, id, data].
    python requests-sse.py URL [AUTHORITY]
"""

import json
import sys

import requests
from requests_sse import EventSource

url = sys.argv[1]
last_event_id = ""

while True:
    session = requests.Session()
    session.trust_env = False
    session.verify = sys.argv[2] if len(sys.argv) > 2 else True
    try:
        with EventSource(url, session=session, latest_event_id=last_event_id) as source:
            for event in source:
                last_event_id = event.last_event_id
                print(json.dumps([event.type, event.last_event_id, event.data]), flush=True)
    except requests.ConnectionError as error:
        print(f"given up: {error!r}", file=sys.stderr)
