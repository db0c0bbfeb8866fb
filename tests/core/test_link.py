import string
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core import limits
from covey_core.errors import CoveyError, LinkInvalid
from covey_core.link import decode_link, encode_link, expect_link, qr_text

KINDS = st.text(string.ascii_lowercase, min_size=1, max_size=16)


@given(KINDS, st.integers(1, 255), st.binary(max_size=400))
def test_a_link_brings_back_what_was_put_in(kind, version, payload):
    link = encode_link(kind, version, payload)
    assert link.startswith(f"covey:{kind}.")
    assert decode_link(link) == (kind, version, payload)


@given(st.binary(min_size=1, max_size=60), st.data())
def test_every_single_wrong_missing_or_extra_character_is_noticed(payload, data):
    link = encode_link("net", 1, payload)
    alphabet = string.ascii_letters + string.digits + "-_"
    start = len("covey:net.")
    at = data.draw(st.integers(start, len(link) - 1))
    other = data.draw(st.sampled_from([letter for letter in alphabet if letter != link[at]]))
    for damaged in (link[:at] + other + link[at + 1 :], link[:at] + link[at + 1 :], link[:at] + other + link[at:]):
        if damaged == link:
            continue
        with pytest.raises(LinkInvalid, match="copy the whole link"):
            decode_link(damaged)


def test_a_wrong_last_character_is_noticed_also_where_it_changes_no_byte():
    link = encode_link("net", 1, b"abc")  # 8 bytes, 11 characters: the last one has 2 unused bits
    assert (len(link) - len("covey:net.")) % 4 == 3
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    with pytest.raises(LinkInvalid, match="copy the whole link"):
        decode_link(link[:-1] + alphabet[alphabet.index(link[-1]) + 1])


@given(st.text(max_size=120) | st.text(max_size=60).map(lambda text: "covey:net." + text))
def test_any_text_is_a_link_or_refused(text):
    try:
        decode_link(text)
    except LinkInvalid:
        return


def test_a_link_that_a_terminal_or_a_mail_program_wrapped_is_taken():
    link = encode_link("net", 1, bytes(100))
    wrapped = "  " + link[:40] + "\r\n   " + link[40:90] + "\n" + link[90:] + "\n"
    assert decode_link(wrapped) == decode_link(link)


@pytest.mark.parametrize("around", ["<{}>", '"{}".', "`{}`", "({}),", "\u201c{}\u201d"])
def test_quotes_brackets_and_full_stops_around_a_link_are_passed_over(around):
    link = encode_link("net", 1, bytes(100))
    assert decode_link(around.format(link)) == decode_link(link)


def test_one_kind_does_not_pass_for_another():
    link = encode_link("net", 1, b"payload")
    with pytest.raises(LinkInvalid, match="copy the whole link"):
        decode_link(link.replace("covey:net.", "covey:nit."))
    with pytest.raises(LinkInvalid, match="this is a covey:net link, and a covey:invite link is needed"):
        expect_link(link, kind="invite", version=1)


def test_a_newer_version_says_that_covey_must_be_updated():
    with pytest.raises(LinkInvalid, match=r"version 2.*knows version 1: update Covey"):
        expect_link(encode_link("net", 2, b""), kind="net", version=1)


def test_an_older_version_says_that_a_new_link_is_needed():
    with pytest.raises(LinkInvalid, match="ask for a new one"):
        expect_link(encode_link("net", 1, b""), kind="net", version=2)


@pytest.mark.parametrize("text", ["", "hello", "https://example.org/", "x" * 100_000])
def test_what_is_no_link_is_called_so(text):
    with pytest.raises(LinkInvalid, match=r"no covey: link|too long"):
        decode_link(text)


@pytest.mark.parametrize(("kind", "version"), [("Net", 1), ("", 1), ("a" * 17, 1), ("net", 0), ("net", 256)])
def test_a_kind_or_version_that_no_link_can_carry_is_refused(kind, version):
    with pytest.raises(ValueError, match="no link of kind"):
        encode_link(kind, version, b"")


def test_a_link_over_the_limit_is_not_made():
    with pytest.raises(ValueError, match="over the limit"):
        encode_link("net", 1, bytes(limits.LINK_MAX_CHARS))


def test_a_qr_code_has_its_quiet_zone_and_the_size_its_version_says():
    lines = qr_text(encode_link("net", 1, bytes(20))).split("\n")
    width = len(lines[0])
    modules = width - 8
    assert modules >= 21
    assert (modules - 17) % 4 == 0
    assert all(len(line) == width for line in lines)
    assert lines[0] == lines[1] == "\u2588" * width
    assert set("".join(lines)) == {" ", "\u2580", "\u2584", "\u2588"}


def test_a_qr_code_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "segno", None)
    with pytest.raises(CoveyError, match="pip install segno"):
        qr_text("covey:net.AAAA")


def test_a_link_too_long_for_a_qr_code_is_an_error_with_a_text():
    with pytest.raises(CoveyError, match="send it as text"):
        qr_text("covey:net." + "A" * limits.QR_MAX_CHARS)
