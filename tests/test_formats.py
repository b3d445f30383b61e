"""Records come out of what container runtimes wrap around them, and nothing else is touched."""

import json
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter.formats import Choice
from agent_exporter.formats.containers import ContainerFormat, may_hold_wrapped
from agent_exporter.lines import MAX_LINE, Batch
from agent_exporter.sources.place import Place
from agent_exporter.sources.splitting import Splitter, Stream

STAMP = b"2026-03-18T09:15:32.441234567Z"


def docker(text: str, stream: str = "stdout") -> bytes:
    return json.dumps({"log": text, "stream": stream, "time": "2026-03-18T09:15:32Z"}).encode()


def cri(text: str, tag: str = "F", stream: str = "stdout") -> bytes:
    return STAMP + f" {stream} {tag} {text}".encode()


def test_plain_lines_pass_through():
    """Among them records whose content looks like a wrapped line."""
    lines = [b'{"agent_id": "a"}', b'{"agent_id": "a", "log": "x\\n"}', b"2026-03-18 09:15:32 INFO " + docker("x\n")]
    assert ContainerFormat().feed(lines) == Batch(lines)


@pytest.mark.parametrize("first", [b"Starting agent", b'{"agent_id": "a"}', docker("x\n")[9:], cri("x"), docker("x\n")])
def test_each_line_is_unwrapped_by_itself(first):
    """A banner, a record, the rest of a cut line, or another runtime's line may come first."""
    unwrapped = {cri("x"): b"x", docker("x\n"): b"x"}.get(first, first)
    assert ContainerFormat().feed([first, docker("a\n"), cri("b"), first, docker("c\n")]) == Batch(
        [unwrapped, b"a", b"b", unwrapped, b"c"]
    )


def test_pieces_of_two_runtimes_are_not_joined():
    """One file may hold the output of both, one after the other."""
    format_ = ContainerFormat()
    assert format_.feed([docker("half"), cri("one "[:3], "P"), cri("two")]).lines == [b"onetwo"]
    assert format_.feed([docker(" more\n")]).lines == [b"half more"]


def test_a_whole_record_without_a_newline_is_no_piece():
    """Shippers take the newline off `log`. What was thought to be a piece before it is passed on, to be rejected."""
    assert ContainerFormat().feed([docker('{"a":1}'), docker("text"), docker('{"b":2}')]).lines == [
        b'{"a":1}',
        b"text",
        b'{"b":2}',
    ]
    assert ContainerFormat().feed([docker('{"a":"x'), docker('{}"}'), docker("\n")]).lines == [b'{"a":"x{}"}']


def test_a_file_that_may_hold_wrapped_lines_is_known_without_splitting_it():
    """`explain` reads other files in place."""
    plain = b'{"agent_id": "a", "log": "x stdout"}\n' * 3000
    assert not may_hold_wrapped(plain)
    assert may_hold_wrapped(plain + docker("x\n"))
    assert may_hold_wrapped(docker("x\n"))
    assert may_hold_wrapped(plain + cri("x"))
    assert may_hold_wrapped(b"\xef\xbb\xbf" + plain)


def test_docker_lines_are_unwrapped():
    """The text of `log` without its newline is the record."""
    assert ContainerFormat().feed([docker('{"a":1}\n'), docker("\n"), docker("b\r\n")]).lines == [b'{"a":1}', b"b"]


def test_cri_lines_are_unwrapped():
    """A full CRI line is a record; an empty one is left out; tags after the first do not matter."""
    assert ContainerFormat().feed([cri('{"a":1}'), cri(""), cri("x", "F:extra")]).lines == [b'{"a":1}', b"x"]


@pytest.mark.parametrize("wrap", [docker, cri])
def test_pieces_are_joined_per_stream(wrap):
    """Pieces of stdout and stderr come interleaved and belong to different records."""
    full = {docker: lambda text, stream: docker(text + "\n", stream), cri: lambda text, stream: cri(text, "F", stream)}
    part = {docker: docker, cri: lambda text, stream: cri(text, "P", stream)}
    lines = [
        part[wrap]("one ", "stdout"),
        part[wrap]("ONE ", "stderr"),
        part[wrap]("two ", "stdout"),
        full[wrap]("TWO", "stderr"),
        full[wrap]("three", "stdout"),
    ]
    assert ContainerFormat().feed(lines).lines == [b"ONE TWO", b"one two three"]


def test_rows_of_state_keep_their_form():
    """Rows that earlier versions wrote: a format in the middle of a record, and the place of a file that has it."""
    dumped = b"\x91\x82\xa6stdout\xc4\x02ab\xa6stderr\xc0"
    held = Choice().load(dumped)
    assert held.dump() == dumped
    assert (list(held.unfinished), held.held) == (["stdout", "stderr"], 2)
    assert held.feed([docker("c\n")]) == Batch([b"abc"])
    assert (
        msgspec.msgpack.decode(
            msgspec.msgpack.encode({"path": b"/x", "dev": 1, "inode": 2, "format": dumped}), type=Place
        ).format
        == dumped
    )


@pytest.mark.parametrize("cut", range(4))
def test_a_restart_between_pieces_loses_nothing(cut):
    """The state holds the pieces."""
    lines = [docker("a"), docker("b"), docker("c\n"), docker("d\n")]
    first = ContainerFormat()
    before = first.feed(lines[:cut]).lines
    assert before + ContainerFormat.load(first.dump()).feed(lines[cut:]).lines == [b"abc", b"d"]


def test_a_line_that_is_not_wrapped_among_wrapped_ones_is_handed_on():
    """To be rejected with a reason, never lost."""
    assert ContainerFormat().feed([docker("a\n"), b"{broken", b"x"]).lines == [b"a", b"{broken", b"x"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"log": "x\\n", "agent_id": "a"}',
        b'{"log": 5, "stream": "stdout"}',
        b'{"stream": "stdout", "time": "2026"}',
        b'{"attrs": ' + b"[" * 100_000,
    ],
)
def test_a_record_of_an_agent_is_no_docker_line(line):
    """Only log, stream, time and attrs, with a text in log, make a docker line."""
    assert ContainerFormat().feed([line]).lines == [line]


def test_docker_lines_may_have_attributes():
    """`docker run --log-opt labels` adds them."""
    assert ContainerFormat().feed([b'{"log":"a\\n","stream":"stdout","attrs":{"k":"v"},"time":"2026"}']).lines == [b"a"]


def test_a_joined_record_over_the_limit_is_dropped_and_counted_once():
    """It is neither held in memory nor mixed with the next record of the stream."""
    wrapped = ContainerFormat()
    tracemalloc.start()
    for _ in range(1000):
        assert wrapped.feed([cri("x" * 16384, "P")]) == Batch([])
    assert tracemalloc.get_traced_memory()[1] < 4 * MAX_LINE
    tracemalloc.stop()
    wrapped = ContainerFormat.load(wrapped.dump())
    assert wrapped.feed([cri("end")]) == Batch([], 1)
    assert wrapped.feed([cri("next")]) == Batch([b"next"])


def test_made_up_streams_cannot_fill_the_memory():
    """All streams but stderr are taken for one."""
    wrapped = ContainerFormat()
    for i in range(100):
        wrapped.feed([docker("x", f"stream{i}")])
    assert len(wrapped.pieces) == 1


def test_pieces_without_an_end_are_handed_on_at_the_end():
    """To be rejected with a reason, never lost."""
    wrapped = ContainerFormat()
    wrapped.feed([docker("half"), docker("HALF", "stderr")])
    assert wrapped.end() == Batch([b"half", b"HALF"])
    assert wrapped.end() == Batch([])


def test_a_bom_and_blank_lines_are_left_out():
    """Both are no part of a record."""
    assert ContainerFormat().feed([b"\xef\xbb\xbf", b"", b" \t", b"a"]).lines == [b"a"]
    assert ContainerFormat().feed([b"\xef\xbb\xbfa", b"\x00", "\u2028".encode()]).lines == [
        b"a",
        b"\0",
        "\u2028".encode(),
    ]


@given(
    st.lists(
        st.one_of(st.binary(max_size=20), st.binary(max_size=5).map(lambda b: b"\0\0" + b)).map(
            lambda b: b.replace(b"\n", b"").replace(b"\r", b"")
        )
    ),
    st.data(),
)
def test_lines_do_not_depend_on_how_the_bytes_arrive(lines, data):
    """Any cut into blocks gives the same lines, CRLF or LF, and drops the same NULs before them."""
    end = data.draw(st.sampled_from([b"\n", b"\r\n"]))
    text = b"".join(line + end for line in lines) + b"rest"
    splitter = Splitter()
    got: list[bytes] = []
    nul_bytes = 0
    while text:
        cut = data.draw(st.integers(1, len(text)))
        batch = splitter.feed(text[:cut])
        got += batch.lines
        nul_bytes += batch.nul_bytes
        text = text[cut:]
    assert [*got, *splitter.end().lines] == [*(line.lstrip(b"\0") for line in lines), b"rest"]
    assert nul_bytes == sum(len(line) - len(line.lstrip(b"\0")) for line in lines)


def test_nuls_before_a_wrapped_line_and_before_its_record_are_dropped():
    """A crash may leave them in docker's file or in what the program wrote; those within a line stay."""
    stream = Stream()
    assert stream.feed(bytes(500) + docker("\0\0a\n") + b"\n\0" + docker("b\0c\n") + b"\n") == Batch(
        [b"a", b"b\0c"], 0, 503
    )


@pytest.mark.parametrize("block", [1000, 65536, MAX_LINE])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_limit_is_exact_and_a_longer_line_is_counted_once(block, end):
    """A line of just MAX_LINE bytes is a line; one more is too many, wherever the blocks are cut."""
    text = b"x" * MAX_LINE + end + b"y" * (MAX_LINE + 1) + end + b"z" + end + b"w" * (MAX_LINE + 1)
    stream = Stream()
    batches = [stream.feed(text[i : i + block]) for i in range(0, len(text), block)] + [stream.end()]
    assert [line[:1] for batch in batches for line in batch.lines] == [b"x", b"z"]
    assert sum(batch.too_long for batch in batches) == 2
