"""PutEvents and PublishBatch as AWS answers them on a bad day: a server on loopback, between the
client and the emulator, that takes some entries and fails others.
"""

import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode
from urllib.request import Request, urlopen
from xml.etree import ElementTree as ET

SNS = "{http://sns.amazonaws.com/doc/2010-03-31/}"


class PartialFailures:
    """`bus` and `topic` hold, for each request to come, the code for each of its entries (None: it
    is taken), or a number: the HTTP status of the whole. `requests` is what arrived: (service,
    event ids).
    """

    def __init__(self, emulator):
        self.bus, self.topic, self.requests = [], [], []
        self._emulator = emulator
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                bus = self.headers.get("X-Amz-Target") == "AWSEvents.PutEvents"
                answer = proxy.put_events if bus else proxy.publish_batch
                status, content, kind = answer(body, dict(self.headers))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def ids(self, service):
        """The event ids of each request to a service."""
        return [ids for name, ids in self.requests if name == service]

    def put_events(self, body, headers):
        entries = json.loads(body)["Entries"]
        self.requests.append(("events", [json.loads(e["Detail"])["id"] for e in entries]))
        codes = self.bus.pop(0) if self.bus else [None] * len(entries)
        if isinstance(codes, int):
            return codes, b"{}", "application/x-amz-json-1.1"
        good = [entry for entry, code in zip(entries, codes, strict=True) if code is None]
        taken = iter(self._forward(json.dumps({"Entries": good}).encode(), headers, good))
        results = [
            {"ErrorCode": code, "ErrorMessage": "on purpose"} if code else next(taken)
            for code in codes
        ]
        failed = sum(code is not None for code in codes)
        answer = {"FailedEntryCount": failed, "Entries": results}
        return 200, json.dumps(answer).encode(), "application/x-amz-json-1.1"

    def _forward(self, body, headers, good) -> Sequence[dict]:
        return json.loads(self._send(body, headers))["Entries"] if good else []

    def publish_batch(self, body, headers):
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
        prefix = "PublishBatchRequestEntries.member."
        numbers = sorted({int(n.removeprefix(prefix).split(".")[0]) for n in fields if prefix in n})
        messages = [fields[f"{prefix}{n}.Message"] for n in numbers]
        self.requests.append(("sns", [json.loads(message)["id"] for message in messages]))
        codes = self.topic.pop(0) if self.topic else [None] * len(messages)
        if isinstance(codes, int):
            return codes, b"<ErrorResponse/>", "text/xml"
        failed = {n: code for n, code in zip(numbers, codes, strict=True) if code}
        kept = {name: value for name, value in fields.items() if prefix not in name}
        for place, number in enumerate((n for n in numbers if n not in failed), 1):
            old = f"{prefix}{number}."
            kept |= {
                f"{prefix}{place}.{name.removeprefix(old)}": value
                for name, value in fields.items()
                if name.startswith(old)
            }
        if len(failed) == len(numbers):
            text = f'<Response xmlns="{SNS[1:-1]}"><PublishBatchResult/></Response>'
        else:
            text = self._send(urlencode(kept).encode(), headers)
        root = ET.fromstring(text)
        result = root.find(f"{SNS}PublishBatchResult")
        listed = result.find(f"{SNS}Failed")
        if listed is None:
            listed = ET.SubElement(result, f"{SNS}Failed")
        for n, code in failed.items():
            member = ET.SubElement(listed, f"{SNS}member")
            for name, value in {
                "Id": fields[f"{prefix}{n}.Id"],
                "Code": code,
                "SenderFault": str(code == "InvalidParameter").lower(),
            }.items():
                ET.SubElement(member, f"{SNS}{name}").text = value
        return 200, ET.tostring(root), "text/xml"

    def _send(self, body, headers):
        passed = {n: v for n, v in headers.items() if n.lower() not in {"host", "content-length"}}
        with urlopen(Request(self._emulator, body, passed)) as answer:
            return answer.read()
