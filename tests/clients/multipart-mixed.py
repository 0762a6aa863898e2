"""Python's own HTTP client and email parser, which reads each body part; comes back with the last id.

Each part is told as a line of JSON: [type, id, data].
    python multipart-mixed.py URL
"""

import email
import email.policy
import http.client
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

url = sys.argv[1]
last_event_id = ""
retry = 3.0


def parts(response):
    """The bytes of each part, as soon as the delimiter after it has come."""
    boundary = b"--" + response.headers.get_param("boundary").encode()
    part = b""
    for line in response:
        if line.rstrip(b"\r\n") in (boundary, boundary + b"--"):
            if part:
                yield part
            part = b""
        else:
            part += line


while True:
    headers = {"Accept": "multipart/mixed"}
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
            assert response.headers.get_content_type() == "multipart/mixed", response.headers
            for part in parts(response):
                # The line end before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1).
                message = email.message_from_bytes(part[:-2], policy=email.policy.HTTP)
                assert not message.defects, message.defects
                content = message.get_payload(decode=True)
                assert len(content) == int(message["Content-Length"]) or message["Content-Transfer-Encoding"], part
                last_event_id = message["Encke-Id"] or last_event_id
                if message["Encke-Retry"]:
                    retry = int(message["Encke-Retry"]) / 1000
                kind = urllib.parse.unquote(message["Encke-Type"])
                print(json.dumps([kind, message["Encke-Id"] or "", content.decode()]), flush=True)
    except (OSError, http.client.HTTPException, urllib.error.URLError) as error:
        print(f"cut off: {error!r}", file=sys.stderr)
    time.sleep(retry)
