"""Publishes JSON lines with Python's http.client, which writes all of a request before it reads a byte of the answer.

How it ended is told as a line of JSON: {"written", "status", "answered", "last"}: how many lines were written, and how many
the answer had, of which `last` is the last one.
    python publish-lines.py HOST:PORT KEY TARGET COUNT LINE
Each `%d` in LINE is the number of the line.
"""

import http.client
import json
import sys

address, key, target, count, line = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5] + "\n"
AT_ONCE = 1000

written = 0


def pieces():
    global written
    for first in range(0, count, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, count))
        yield "".join(line.replace("%d", str(number)) for number in numbers).encode()
        written = numbers.stop


connection = http.client.HTTPConnection(address, timeout=300)
try:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
    connection.request("POST", target, pieces(), headers, encode_chunked=True)
except (BrokenPipeError, ConnectionResetError) as error:
    # The gateway had enough and says why.
    print(f"not all was written: {error!r}", file=sys.stderr)
response = connection.getresponse()
last, answered = "null", 0
for answer in response:
    last, answered = answer, answered + 1
print(json.dumps({"written": written, "status": response.status, "answered": answered, "last": json.loads(last)}))
