"""What is told of a tool call: enough to follow it, nothing that should stay private."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.progress import MAX_SUMMARY
from worker.domain.summary import redacted, summary

WORKSPACE = "/tmp/agent-worker/0f1e/workspace"


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("Read", {"file_path": f"{WORKSPACE}/notes.txt"}, "Read notes.txt"),
        ("Write", {"file_path": "a.txt", "content": "the contents"}, "Write a.txt"),
        ("Edit", {"file_path": "a.txt", "old_string": "x", "new_string": "y"}, "Edit a.txt"),
        ("Bash", {"command": "git status"}, "Bash: git status"),
        ("Bash", {"command": "echo 'buy milk' > list\nrm list"}, "Bash: echo […] > list"),
        ("Bash", {"command": 'git commit -m "half \\" quoted'}, "Bash: git commit -m […]"),
        ("Bash", {"command": "cat > a.txt <<EOF\nbuy milk\nEOF"}, "Bash: cat > a.txt"),
        ("Bash", {"command": "mkdir -p out/a && ls"}, "Bash: mkdir -p out/a && ls"),
        ("Bash", {"command": "KEY=abc make"}, "Bash: KEY=[…] make"),
        (
            "Bash",
            {"command": "curl -u ada:pw https://x.org/a?b=c"},
            "Bash: curl -u […] https://x.org/a",
        ),
        ("Bash", {"command": "tool --token abc run"}, "Bash: tool --token […] run"),
        ("Bash", {"command": "tool --api-key=abc run"}, "Bash: tool --api-key=[…] run"),
        ("Bash", {}, "Bash:"),
        ("Grep", {"pattern": "TODO"}, "Grep TODO"),
        (
            "WebFetch",
            {"url": "https://ada:pw@x.org/a/b?key=1#c", "prompt": "p"},
            "WebFetch https://x.org/a/b",
        ),
        ("WebFetch", {"url": "https://[bad"}, "WebFetch […]"),
        ("Agent", {"description": "look around", "prompt": "long"}, "Agent: look around"),
        ("Skill", {"skill": "summarize"}, "Skill summarize"),
        ("mcp__tickets__search", {"q": "private"}, "tickets: search"),
        ("TodoWrite", {"todos": ["private"]}, "TodoWrite"),
    ],
)
def test_a_call_in_a_few_words(tool, arguments, told):
    assert summary(tool, arguments, WORKSPACE) == told


@pytest.mark.parametrize(
    "text",
    [
        "mkdir -p out/a && ls",
        "skills/summarize/SKILL.md",
        "pip install scikit-learn",
        "ls -la /tmp",
    ],
)
def test_what_is_no_secret_is_shown(text):
    assert redacted(text) == text


BEGINNINGS = ["sk-ant-api03-", "sk-", "ghp_", "github_pat_", "AKIA", "xoxb-", "whsec_", "eyJ"]

alphabet = string.ascii_letters + string.digits
random_words = st.text(alphabet, min_size=20, max_size=60).filter(
    lambda word: any(c.isdigit() for c in word) and any(c.isalpha() for c in word)
)
secrets = st.one_of(
    random_words,
    st.builds(
        "{}{}".format,
        st.sampled_from(
            ["sk-ant-api03-", "sk-", "ghp_", "github_pat_", "AKIA", "xoxb-", "whsec_", "eyJ"]
        ),
        st.text(alphabet, min_size=12, max_size=40),
    ),
)
around = st.text(string.ascii_lowercase + " ./|&;<>-", max_size=30)
carried = st.sampled_from(
    [
        "{}",
        " {} ",
        "-H X:{}",
        "Bearer {}",
        "--password {}",
        "TOKEN={}",
        "https://u:{}@x.org",
        "https://x.org/?k={}",
    ]
)


@given(around, carried, secrets, around)
@example("", "{}", "sk-ant-api03-AAAAAAAAAAAA", "")
def test_what_looks_like_a_secret_is_not_told_wherever_it_stands(before, way, secret, after):
    command = f"{before} {way.format(secret)} {after}"
    assert secret not in summary("Bash", {"command": command})
    assert secret not in redacted(command)


@given(
    st.text(),
    st.dictionaries(
        st.sampled_from(["command", "file_path", "url", "pattern"]),
        st.text() | st.integers() | st.none(),
    ),
)
def test_whatever_the_arguments_are_the_summary_is_one_short_line(tool, arguments):
    told = summary(tool, arguments, WORKSPACE)
    assert len(told) <= MAX_SUMMARY
    assert len(told.splitlines()) <= 1


@given(st.text(min_size=1), st.sampled_from(["content", "new_string", "prompt"]))
def test_contents_are_not_told(text, argument):
    quiet = summary("Write", {"file_path": "a.txt", argument: text})
    assert quiet == "Write a.txt"
