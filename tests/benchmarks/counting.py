"""AWS requests where botocore sends them: their number, their bytes, and DynamoDB's units."""

import json
import math
from collections import Counter

KILOBYTE = 1024


def counted(session):
    """Counts the requests and bytes of all clients that the session makes from now on."""
    counts = Requests()
    events = (
        session.events
        if hasattr(session, "events")
        else session._session.get_component("event_emitter")
    )
    events.register("before-send", counts.sent)
    events.register("before-parse", counts.answered)
    return counts


class Requests:
    """By service and operation: requests, and the bytes of their bodies there and back. What
    DynamoDB was asked to write and read is counted by table and key, what EventBridge was given by
    events.
    """

    def __init__(self):
        self.number, self.bytes, self.received = Counter(), Counter(), Counter()
        self.checkouts = None  # of the host that sends them
        self.written, self.read = Counter(), Counter()
        self.events = Counter()

    def sent(self, request, event_name, **_more):
        _, service, operation = event_name.split(".")
        self.number[service, operation] += 1
        body = request.body
        if hasattr(body, "seek"):
            size = body.seek(0, 2)
            body.seek(0)
        else:
            size = len(body or b"")
        self.bytes[service, operation] += size
        if service == "eventbridge":
            self.events[service] += len(json.loads(body)["Entries"])
        if service == "dynamodb":
            self._items(operation, json.loads(body))

    def answered(self, response_dict, event_name, **_more):
        _, service, operation = event_name.split(".")
        told = {name.lower(): value for name, value in response_dict["headers"].items()}
        body = response_dict.get("body")
        size = len(body) if isinstance(body, bytes) else int(told.get("content-length", 0))
        self.received[service, operation] += size

    def _items(self, operation, body):
        """(table, key, whether in a transaction)"""
        for action in body.get("TransactItems", []):
            [(kind, item)] = action.items()
            count = self.read if kind == "Get" else self.written
            count[item["TableName"], _key(item), True] += 1
        if operation in {"PutItem", "UpdateItem", "DeleteItem"}:
            self.written[body["TableName"], _key(body), False] += 1
        if operation == "GetItem":
            self.read[body["TableName"], _key(body), False] += 1

    def copy(self):
        other = Requests()
        for name, counter in self._counters():
            setattr(other, name, Counter(counter))
        return other

    def since(self, earlier):
        other = Requests()
        for name, counter in self._counters():
            setattr(other, name, counter - getattr(earlier, name))
        return other

    def _counters(self):
        return [(name, held) for name, held in vars(self).items() if isinstance(held, Counter)]

    def units(self, dynamodb):
        """Write and read units of the tables, with the items as large as they are now. A
        transaction counts double; the writes of indexes are not in it.
        """
        sizes = {}

        def size(table, key):
            if (table, key) not in sizes:
                found = dynamodb.get_item(TableName=table, Key=json.loads(key)).get("Item", {})
                sizes[table, key] = item_bytes(found)
            return sizes[table, key]

        def total(counter, unit):
            return sum(
                number * max(math.ceil(size(table, key) / unit), 1) * (2 if together else 1)
                for (table, key, together), number in counter.items()
            )

        return total(self.written, KILOBYTE), total(self.read, 4 * KILOBYTE)

    def writes_of(self, table):
        return sum(number for (name, _, _), number in self.written.items() if name == table)


def _key(item):
    if "Key" in item:
        return json.dumps(item["Key"], sort_keys=True)
    names = ("job_id", "session_key", "producer", "tenant", "part", "item")
    return json.dumps({n: item["Item"][n] for n in names if n in item["Item"]}, sort_keys=True)


def item_bytes(item):
    """As DynamoDB measures an item (its developer guide, "Item sizes and formats")."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value):
    [(kind, content)] = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return len(content) // 2 + 2
        case "M":
            return 3 + sum(
                1 + len(name.encode()) + _value_bytes(one) for name, one in content.items()
            )
        case "L":
            return 3 + sum(1 + _value_bytes(one) for one in content)
        case "BOOL" | "NULL":
            return 1
        case _:
            return len(str(content))
