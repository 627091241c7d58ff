"""A text in parts is the text, and its tokens are those of the whole."""

from __future__ import annotations

import tracemalloc

import pytest
from fakes import ByteTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dapt_uhd import hostile_session, plain

from agents.lm.five_tuple import Session
from agents.lm.models import load_model
from dapt.tokens import encoded, parts
from dapt.uhd import Samples

SHIPPED = "configs/sessions"


@given(session=hostile_session, most=st.integers(1, 2000))
@settings(max_examples=60, deadline=None)
def test_parts_add_up_and_end_where_turns_do(session: Session, most: int) -> None:
    text = Samples([session])[-1].text()
    found = list(parts(text, most))
    assert "".join(found) == text
    assert all(one.startswith("[T") for one in found[1:])
    assert all(len(one) <= most or one.count("\n[T") <= 1 for one in found)
    assert encoded(str.encode, text, most).tolist() == list(text.encode())


def test_a_long_text_takes_no_more_memory_than_its_tokens() -> None:
    """A tokenizer that keeps much beside each token, as real ones do."""
    text = Samples([plain("s", 3000)])[-1].text()

    def encode(part: str) -> list[int]:
        beside = [(i, str(i)) for i in range(len(part))]
        return [token for token, _ in zip(part.encode(), beside, strict=True)]

    tracemalloc.start()
    tokens = encoded(encode, text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(tokens) == len(text) > 500_000
    assert peak < 20 * len(text)
    assert tokens.tolist() == ByteTokenizer().encode(text)


@pytest.mark.real
def test_the_embedded_tokenizer_gives_the_same_tokens_in_parts() -> None:
    from agents.lm.five_tuple import read_sessions

    encode = load_model("smollm2").tokenizer.encode
    text = Samples([read_sessions(SHIPPED)[0]])[-1].text()
    assert encoded(lambda part: encode(part, add_special_tokens=False), text, 2000).tolist() == encode(
        text, add_special_tokens=False
    )
