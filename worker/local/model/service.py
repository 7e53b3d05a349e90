"""The endpoints of the scripted model: the Messages API, Bedrock's way to it, and test hooks."""

import json
from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.local.model.conversation import MalformedRequestError
from worker.local.model.delivery import FaultCounters, PacedResponse
from worker.local.model.directives import FaultKind
from worker.local.model.recorder import Recorder
from worker.local.model.script import Reply, reply
from worker.local.model.wire import (
    bedrock_error_type,
    error,
    event_stream_chunk,
    events,
    json_pieces,
    message,
    server_sent_event,
    tokens,
)


def application(recorder: Recorder) -> Starlette:
    """The ASGI application. Every request to a model is recorded."""
    counters = FaultCounters()

    async def messages(request: Request) -> PacedResponse:
        return await _answer(request, recorder, counters)

    async def count_tokens(request: Request) -> Response:
        return JSONResponse({"input_tokens": tokens(len(await request.body()))})

    async def inference_profiles(_: Request) -> Response:
        return JSONResponse({"inferenceProfileSummaries": []})

    async def welcome(_: Request) -> Response:
        return JSONResponse({"name": "scripted model", "hint": "send it the message 'help'"})

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "requests": recorder.total})

    async def requests(request: Request) -> Response:
        if request.method == "DELETE":
            recorder.clear()
            return Response(status_code=204)
        limit = request.query_params.get("limit", "100")
        if not limit.isdecimal():
            return JSONResponse({"error": f"limit: expected a number, got {limit!r}"}, 400)
        return JSONResponse({"requests": recorder.latest(int(limit))})

    return Starlette(
        routes=[
            Route("/", welcome),
            Route("/v1/messages", messages, methods=["POST"]),
            Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
            Route("/model/{model:path}/invoke", messages, methods=["POST"]),
            Route(
                "/model/{model:path}/invoke-with-response-stream",
                messages,
                methods=["POST"],
            ),
            Route("/inference-profiles", inference_profiles),
            Route("/_scripted/health", health),
            Route("/_scripted/requests", requests, methods=["GET", "DELETE"]),
        ]
    )


async def _answer(request: Request, recorder: Recorder, counters: FaultCounters) -> PacedResponse:
    raw = await request.body()
    bedrock = "model" in request.path_params
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    recorder.record(request, raw, body)
    try:
        answer = reply(body)
    except MalformedRequestError as exc:
        return _failure(Reply(()), 400, str(exc), bedrock)
    fault = counters.next_fault(answer)
    if fault is not None and fault.kind is FaultKind.STATUS:
        return _failure(answer, fault.status, f"scripted failure {fault.status}", bedrock)
    streamed = body.get("stream") is True or request.url.path.endswith("-response-stream")
    model = str(request.path_params.get("model") or body.get("model") or "scripted")
    return _success(
        answer, fault.kind if fault else None, model, tokens(len(raw)), bedrock, streamed
    )


def _success(
    answer: Reply,
    fault: FaultKind | None,
    model: str,
    input_tokens: int,
    bedrock: bool,
    streamed: bool,
) -> PacedResponse:
    if not streamed:
        pieces = json_pieces(message(answer, model, input_tokens))
        return PacedResponse(pieces, {"content-type": "application/json"}, answer, fault)
    stream = events(answer, model, input_tokens)
    if bedrock:
        headers = {"content-type": "application/vnd.amazon.eventstream"}
        return PacedResponse(map(event_stream_chunk, stream), headers, answer, fault)
    headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    return PacedResponse(map(server_sent_event, stream), headers, answer, fault)


def _failure(answer: Reply, status: int, text: str, bedrock: bool) -> PacedResponse:
    body: Mapping[str, object] = {"message": text} if bedrock else error(status, text)
    headers = {"content-type": "application/json"}
    if bedrock:
        headers["x-amzn-errortype"] = bedrock_error_type(status)
    return PacedResponse([json.dumps(body).encode()], headers, answer, None, status)
