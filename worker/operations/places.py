"""Where a chat's objects are in SESSION_BUCKET, as S3Checkouts names them."""

import hashlib


def chat_folder(session_key: str) -> str:
    """`<tenant>/<chat>`, below sessions/ and turns/."""
    # A tenant's name has no character that is quoted in a key.
    tenant = session_key.partition("/")[0]
    return f"{tenant}/{hashlib.sha256(session_key.encode()).hexdigest()[:24]}"


def sessions_prefix(session_key: str) -> str:
    return f"sessions/{chat_folder(session_key)}/"


def turn_logs_prefix(session_key: str) -> str:
    return f"turns/{chat_folder(session_key)}/"


def results_prefix(job_id: str) -> str:
    return f"results/{job_id}/"
