from __future__ import annotations

from llmkit.output.formatting import printable


def test_any_value_becomes_one_line_that_steers_no_terminal():
    assert printable("one\ntwo\r\n three\u2028four\tfive") == "one two three four five"
    assert printable("\x1b[2J\x00\ud800\u202e") == "\ufffd[2J\ufffd\ufffd\ufffd"
    assert printable(None) == ""
    assert printable(0) == "0"
    assert printable(["a", "b\nc", 1]) == "a, b c, 1"
    assert printable([]) == ""
    assert printable("新闻 👩‍💻") == "新闻 👩‍💻"
    assert printable("abcdef", 5) == "abcd…"
