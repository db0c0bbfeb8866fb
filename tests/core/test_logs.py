import io
import json
import logging
import warnings

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import SettingsInvalid
from covey_core.logs import get_logger, setup_logging, without_identities
from covey_core.peers import peer_id_of

PEER = peer_id_of(bytes(range(32)))


@pytest.fixture(autouse=True)
def _as_before():
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_event_part_level_time_and_facts():
    stream = io.StringIO()
    setup_logging(stream=stream)
    get_logger("relay").info("relay.slot.refused", reason="full", slots=4)
    [line] = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "relay.slot.refused", "level": "info", "part": "relay", "reason": "full", "slots": 4}


def test_less_than_the_level_is_not_written():
    stream = io.StringIO()
    setup_logging(level="warning", stream=stream)
    get_logger("relay").info("relay.slot.granted")
    get_logger("relay").warning("relay.slot.refused")
    assert [line["event"] for line in lines(stream)] == ["relay.slot.refused"]


def test_an_unknown_level_is_an_error_for_the_user():
    with pytest.raises(SettingsInvalid, match="debug, info, warning, error"):
        setup_logging(level="loud")


def fail(error):
    raise error


HIDDEN = [
    PEER, "198.51.100.7", "2001:db8::7", "::1", "fe80::1", f"/ip4/198.51.100.7/tcp/4001/p2p/{PEER}",
    "/dns4/ann.example/tcp/443/wss", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "::ffff:198.51.100.7",
]  # fmt: skip


@pytest.mark.parametrize("text", HIDDEN)
def test_no_peer_and_no_address_is_in_a_log(text):
    stream = io.StringIO()
    setup_logging(stream=stream)
    log = get_logger("x")
    log.info(
        "x.y.done", a=text, b=f"to {text} in vain", c=[text, (text, {"d": text})], e=OSError(f"no route to {text}")
    )
    try:
        fail(OSError(f"no route to {text}"))
    except OSError:
        log.exception("x.y.failed")
    for bare in (text, "198.51.100.7", "ann.example", PEER):
        if bare in text:
            assert bare not in stream.getvalue()
    assert "in vain" in stream.getvalue()


@pytest.mark.parametrize("level", ["debug", "info"])
def test_bytes_are_never_written(level):
    stream = io.StringIO()
    setup_logging(level=level, stream=stream)
    get_logger("x").info("x.y.done", key=b"secret", packet=bytearray(b"secret"))
    assert "secret" not in stream.getvalue()
    assert lines(stream)[0]["key"] == "<6 bytes>"


def test_at_debug_addresses_are_shown():
    stream = io.StringIO()
    setup_logging(level="debug", stream=stream)
    get_logger("x").debug("x.y.done", addr="/ip4/198.51.100.7/tcp/4001")
    assert lines(stream)[0]["addr"] == "/ip4/198.51.100.7/tcp/4001"


@pytest.mark.parametrize(
    "text", ["12:30:45", "2026-11-23T01:12:51.482483Z", "a:b", "version 1.2.3", "relay.slot.refused"]
)
def test_times_and_versions_stay_readable(text):
    assert without_identities(None, "info", {"a": text}) == {"a": text}


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_value_can_be_logged(value):
    stream = io.StringIO()
    setup_logging(stream=stream)
    get_logger("x").info("x.y.done", value=value)
    assert len(lines(stream)) == 1


@pytest.mark.parametrize("as_json", [True, False])
def test_an_exception_is_logged_without_the_variables_around_it(as_json):
    stream = io.StringIO()
    setup_logging(stream=stream, json=as_json)
    plaintext = "dear " + "diary"
    try:
        fail(RuntimeError("broken"))
    except RuntimeError:
        get_logger("x").exception("x.y.failed")
    assert "broken" in stream.getvalue()
    assert plaintext not in stream.getvalue()


def test_a_librarys_error_is_one_line_without_its_text():
    stream = io.StringIO()
    setup_logging(stream=stream)
    logging.getLogger("somelib.swarm").warning("peer %s came", PEER)
    logging.getLogger("somelib.swarm").error("peer %s went", PEER)
    [line] = lines(stream)
    assert (line["event"], line["part"], line["level"]) == ("library.message.logged", "somelib", "error")
    assert PEER not in stream.getvalue()
    assert "went" not in stream.getvalue()


def test_a_librarys_exception_is_named_by_its_type():
    stream = io.StringIO()
    setup_logging(stream=stream)
    try:
        fail(OSError(PEER))
    except OSError:
        logging.getLogger("somelib").exception("oh")
    assert lines(stream)[0]["error"] == "OSError"
    assert PEER not in stream.getvalue()


def test_python_warnings_do_not_go_to_the_terminal_raw(capsys):
    stream = io.StringIO()
    setup_logging(level="debug", stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr().err == ""
    assert any("old" in line.get("text", "") for line in lines(stream))


class Broken(io.StringIO):
    def write(self, _text):
        raise BrokenPipeError


def test_a_closed_standard_error_does_not_end_the_process():
    setup_logging(stream=Broken())
    get_logger("x").info("x.y.done")
    closed = io.StringIO()
    setup_logging(stream=closed)
    closed.close()
    get_logger("x").info("x.y.done")


def test_people_get_text():
    stream = io.StringIO()
    setup_logging(stream=stream, json=False)
    get_logger("x").info("x.y.done", addr="198.51.100.7", count=2)
    text = stream.getvalue()
    assert "x.y.done" in text
    assert "count=2" in text
    assert "198.51.100.7" not in text
