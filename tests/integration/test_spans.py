"""Spans as the tracing systems get them: OTLP at a collector, subsegments at X-Ray's daemon."""

import contextlib
import gzip
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.pipeline.webhook_world import WebhookWorld
from tests.pipeline.world import World
from worker.adapters.journal import PowertoolsJournal
from worker.adapters.spans import exporters, span_of
from worker.domain.errors import SettingsError
from worker.domain.trace import job_trace
from worker.webhooks.policy import Answer

pytestmark = pytest.mark.integration

TRACE, BOT_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STEPS = {"claim", "restore", "run", "commit", "publish"}


class Collector:
    """Takes OTLP over HTTP, as a collector does."""

    def __init__(self, status=200):
        self.requests = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.requests.append((self.path, dict(self.headers.items()), body))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def spans(self):
        """(resource attributes, span) of all that arrived."""
        for _, _, body in self.requests:
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = {a.key: a.value.string_value for a in group.resource.attributes}
                for scope in group.scope_spans:
                    yield from ((resource, span) for span in scope.spans)


@pytest.fixture
def collector():
    with running(Collector()) as collector:
        yield collector


@contextlib.contextmanager
def running(collector):
    thread = threading.Thread(target=collector.server.serve_forever)
    thread.start()
    yield collector
    collector.server.shutdown()
    thread.join()
    collector.server.server_close()


@pytest.fixture
def otlp(collector, monkeypatch):
    """The exporter, as the environment asks for it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "secretsmanager://collector")
    [otlp] = exporters({**os.environ, "OTEL_EXPORTER_OTLP_HEADERS": "x-key=resolved"})
    yield otlp
    otlp._provider.shutdown()


def attributes(span):
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


async def job(exporter, **fields):
    """A job and its webhook, on the ports in memory with the real journal; what subscribers got."""
    world, hooks = World(), WebhookWorld()
    journal = PowertoolsJournal(exporters=[exporter])
    object.__setattr__(world.ports, "journal", journal)
    object.__setattr__(hooks.ports, "journal", journal)
    headers = []
    await hooks.subscribe(lambda given, _: headers.append(given) or Answer(204, 0.01))
    world.send("what nobody else may read", **fields)
    await world.step()
    [event] = world.publisher.events
    hooks.publish(traceparent=json.loads(event)["traceparent"])
    await hooks.work()
    return headers


async def test_a_collector_gets_one_trace_from_the_bot_s_span_to_the_webhook(otlp, collector):
    [headers] = await job(otlp, traceparent=f"00-{TRACE}-{BOT_SPAN}-01")
    assert collector.requests == [], "a step waited for the collector"
    otlp._processor.force_flush()
    [(path, sent, body)] = collector.requests
    assert (path, sent["x-key"]) == ("/v1/traces", "resolved")
    assert b"nobody else" not in body
    spans = {span.name: span for _, span in collector.spans()}
    assert set(spans) == STEPS | {"job", "webhook_attempt"}
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    assert spans["job"].parent_span_id.hex() == BOT_SPAN
    assert {spans[step].parent_span_id for step in STEPS} == {spans["job"].span_id}
    published = spans["publish"].span_id
    assert spans["webhook_attempt"].parent_span_id == published
    assert headers["traceparent"] == f"00-{TRACE}-{published.hex()}-01"
    for span in spans.values():
        assert span.start_time_unix_nano <= span.end_time_unix_nano
    assert attributes(spans["run"])["verdict"] == "Conclude"
    assert attributes(spans["run"])["attempt"] == 1
    assert next(collector.spans())[0]["service.name"] == "agent-worker"


async def test_what_the_bot_does_not_sample_is_not_exported_and_what_has_no_trace_is(
    otlp, collector
):
    await job(otlp, traceparent=f"00-{TRACE}-{BOT_SPAN}-00")
    otlp._processor.force_flush()
    assert collector.requests == []
    await job(otlp)
    otlp._processor.force_flush()
    spans = {span.name: span for _, span in collector.spans()}
    assert set(spans) == STEPS | {"job"}
    assert spans["job"].parent_span_id == b""


async def test_an_exporter_that_fails_costs_no_turn():
    class Broken:
        def export(self, span):
            raise RuntimeError(span.name)

    assert len(await job(Broken())) == 1


def test_nothing_is_imported_unless_it_is_asked_for():
    code = (
        "import sys, worker.bootstrap\n"
        "from worker.adapters.spans import exporters\n"
        "assert exporters({'AWS_LAMBDA_FUNCTION_NAME': 'f'}) == ()\n"
        "found = [n for n in sys.modules if n.startswith(('opentelemetry.sdk', 'aws_xray_sdk'))]\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_endpoint_without_the_extra_or_with_another_protocol_ends_the_start(monkeypatch):
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    with pytest.raises(SettingsError, match="is 'grpc'"):
        exporters({**environ, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    monkeypatch.setitem(sys.modules, "worker.adapters.otlp", None)
    with pytest.raises(SettingsError, match=r"install agent-worker\[otel\]"):
        exporters(environ)
    assert exporters({**environ, "OTEL_SDK_DISABLED": "true"}) == ()
    assert exporters({**environ, "OTEL_TRACES_EXPORTER": "none"}) == ()


INVOCATION = """
import os, time
from worker.adapters.journal import PowertoolsJournal
from worker.adapters.spans import exporters
from worker.domain.trace import job_trace
from worker.webhooks.policy import Answer
found = exporters(os.environ)
assert len(found) == {count}, found
journal = PowertoolsJournal(exporters=found)
root, parent = "1-5759e988-bd862e3fe1be46a994272793", "53995c3f42cd8ad8"
os.environ["_X_AMZN_TRACE_ID"] = f"Root={{root}};Parent={{parent}};Sampled={sampled}"
journal.begin(job_trace("j-1", None), 1.0, job_id="j-1", chat="default/1", message_id="m-1")
journal.note("claim", result="Claim", attempt=2)
journal.note("run", verdict="Again", code="agent_died", cost_usd=0.25, answer="what was said")
journal.note("publish", state="completed")
"""


@contextlib.contextmanager
def daemon():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener


def invoked(listener, *, sampled=1, count=1, **environ):
    """What X-Ray's daemon got from a process that looks like a Lambda sandbox."""
    host, port = listener.getsockname()
    sandbox = {
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_FUNCTION_NAME": "worker",
        "LAMBDA_TASK_ROOT": "/var/task",
        "AWS_XRAY_DAEMON_ADDRESS": f"{host}:{port}",
        **environ,
    }
    code = INVOCATION.format(sampled=sampled, count=count)
    done = subprocess.run(
        [sys.executable, "-c", code], env=sandbox, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "span_lost" not in done.stdout
    listener.setblocking(False)  # datagrams on loopback are there when sending has returned
    segments = []
    with contextlib.suppress(BlockingIOError):
        while True:
            header, _, segment = listener.recv(65536).decode().partition("\n")
            assert json.loads(header) == {"format": "json", "version": 1}
            segments.append(json.loads(segment))
    return segments


def test_x_ray_gets_a_subsegment_of_the_invocation_for_each_step():
    with daemon() as listener:
        segments = invoked(listener)
    assert [segment["name"] for segment in segments] == ["claim", "run", "publish"]
    for segment in segments:
        assert segment["type"] == "subsegment"
        assert segment["trace_id"] == "1-5759e988-bd862e3fe1be46a994272793"
        assert segment["parent_id"] == "53995c3f42cd8ad8"
        assert segment["start_time"] <= segment["end_time"]
        told = segment["annotations"]
        assert (told["job_id"], told["chat"], told["attempt"]) == ("j-1", "default/1", 2)
        assert told["trace"] == job_trace("j-1", None).trace_id
    assert [segment.get("fault", False) for segment in segments] == [False, True, False]
    assert "what was said" not in json.dumps(segments)


def test_x_ray_gets_nothing_of_an_unsampled_invocation_or_where_tracing_is_disabled():
    with daemon() as listener:
        assert invoked(listener, sampled=0) == []
        assert invoked(listener, count=0, POWERTOOLS_TRACE_DISABLED="true") == []


def test_a_span_carries_ids_codes_and_figures_alone():
    told = {"job_id": "j-1", "error": "what was said", "code": None, "state": "failed"}
    span = span_of("publish", job_trace("j-1", None), 1.0, 2.0, told)
    assert span.attributes == {"job_id": "j-1", "state": "failed"}
    assert span.failed
