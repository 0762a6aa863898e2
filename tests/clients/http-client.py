"""Publishes many lines with the standard library, which reads nothing before all is written; prints what it was told."""

import http.client
import json
import sys

address, target, key, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])


def lines():
    for first in range(0, count, 1000):
        numbers = range(first, min(first + 1000, count))
        yield b"".join(b'{"topic":"many","data":%d}\n' % number for number in numbers)


connection = http.client.HTTPConnection(address, timeout=600)
headers = {"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {key}"}
connection.request("POST", target, body=lines(), headers=headers, encode_chunked=True)
answer = connection.getresponse()
told = answer.read().splitlines()
print(json.dumps({"status": answer.status, "lines": len(told), "last": json.loads(told[-1])}))
