from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.errors import InvalidCursor, InvalidItem
from pipelines.sinks.store_keys import (
    CandidateKey,
    channel_key,
    created_key,
    date_key,
    decode_cursor,
    encode_cursor,
    escape,
    score_key,
    unescape,
)

KEY = CandidateKey("7", "reviews", "US", "product", "A")
five_texts = st.tuples(*[st.text("a#%23$\x00é", max_size=5)] * 5)


def test_keys_are_spelt_as_in_the_document() -> None:
    assert KEY.pk == "CUSTOMER#7#PROGRAM#reviews#MARKETPLACE#US"
    assert KEY.sk == "SUBJECT#product#A"
    assert channel_key("reviews", "email") == "PROGRAM#reviews#CHANNEL#email"
    assert score_key(0.5, "7") == "SCORE#0.500000#CUSTOMER#7"
    assert date_key("reviews", date(2017, 3, 5)) == "PROGRAM#reviews#DATE#2017-03-05"
    created = created_key("2017-03-05T23:59:59.999Z", "7")
    assert created == "CREATED#2017-03-05T23:59:59.999Z#CUSTOMER#7"


@given(five_texts)
@example(("%23", "#", "%2523", "", "a\nb"))
def test_a_key_is_read_back_whatever_its_ids_are(ids: tuple[str, ...]) -> None:
    key = CandidateKey(*ids)
    assert CandidateKey.parse(key.pk, key.sk) == key


@given(five_texts, five_texts)
@example(("a#PROGRAM#b", "c", "", "", ""), ("a", "b#PROGRAM#c", "", "", ""))
@example(("", "", "", "a#b", "c"), ("", "", "", "a", "b#c"))
def test_two_candidates_never_share_a_key(one: tuple[str, ...], two: tuple[str, ...]) -> None:
    first, second = CandidateKey(*one), CandidateKey(*two)
    assert (first == second) == ((first.pk, first.sk) == (second.pk, second.sk))


@given(st.text("#%23$é", max_size=8))
def test_escaping_leaves_no_hash_and_is_undone(text: str) -> None:
    assert "#" not in escape(text)
    assert unescape(escape(text)) == text


@pytest.mark.parametrize(
    ("pk", "sk"),
    [
        ("CUSTOMER#7#PROGRAM#r", "SUBJECT#product#A"),
        ("CUSTOMER#7#PROGRAM#r#MARKETPLACE#US#", "SUBJECT#product#A"),
        (KEY.pk, "SUBJECT#product"),
        (KEY.pk, "SUBJECT#product#A#B"),
        ("", ""),
    ],
)
def test_what_is_no_key_is_refused(pk: str, sk: str) -> None:
    with pytest.raises(InvalidItem, match="expected PK"):
        CandidateKey.parse(pk, sk)


@given(st.floats(0, 1), st.floats(0, 1))
@example(0.09, 0.1)
@example(1e-7, 0.000001)
@example(1.0, 0.999999)
def test_scores_sort_as_numbers(one: float, two: float) -> None:
    texts = score_key(one, "7"), score_key(two, "7")
    assert len(texts[0]) == len(texts[1])
    assert (texts[0] < texts[1]) == (round(one, 6) < round(two, 6))


@given(st.lists(st.text(), min_size=1, max_size=3))
def test_a_cursor_leads_back_to_where_the_page_ended(last: list[str]) -> None:
    assert decode_cursor("by-date x", encode_cursor("by-date x", tuple(last))) == tuple(last)


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "é", "e30=", urlsafe_b64encode(b"5").decode(), urlsafe_b64encode(b"[]").decode()],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor, match="no cursor"):
        decode_cursor("by-date x", cursor)


def test_a_cursor_of_another_query_is_refused() -> None:
    with pytest.raises(InvalidCursor, match="expected by-date x, found by-date y"):
        decode_cursor("by-date x", encode_cursor("by-date y", ("1",)))
