"""Reads a multipart stream with Python's email parser and compares it with what was rendered.

    python3 email-parser.py CONTENT-TYPE STREAM EXPECTED
EXPECTED is JSON: a list of [[[name, value], ...], content in base64].
"""

import base64
import email
import email.policy
import json
import sys
import urllib.parse

content_type, stream, expected = sys.argv[1:]
with open(stream, "rb") as file:
    message = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + file.read())
with open(expected, encoding="utf-8") as file:
    expected = json.load(file)

assert not message.defects, message.defects
parts = message.get_payload()
assert len(parts) == len(expected), (len(parts), len(expected))
for part, (fields, content) in zip(parts, expected):
    assert not part.defects, (part.defects, part.items())
    told = [[name.lower(), urllib.parse.unquote(value, errors="strict")] for name, value in part.items()]
    told = [field for field in told if field[0].startswith("encke-") and field[0] not in ("encke-heartbeat", "encke-time")]
    assert told == fields, (told, fields)
    assert part.get_payload(decode=True) == base64.b64decode(content), (part.get_payload(), content)
print(len(parts), "parts")
