"""Log records of OTLP become the same lines in both encodings, and what was answered with 200 is not lost."""

import base64
import contextlib
import json
import math

import msgspec
import pytest
from conftest import line
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from agent_exporter.action import Action, Mended, Rejection, decode
from agent_exporter.lines import MAX_LINE, Batch, Origin
from agent_exporter.sources import otlp, otlp_protobuf, otlp_records, requests
from agent_exporter.sources.otlp import ROW_KIND, OtlpSource
from agent_exporter.sources.otlp_json import decode_json
from agent_exporter.sources.otlp_protobuf import decode_protobuf
from agent_exporter.sources.otlp_records import Record
from agent_exporter.sources.requests import QueueFull, Receipt

NOW = 1_800_000_000.0
CUT = "2026-03-18T09:15:32.441234567Z stdout {} {}"


def value(plain) -> AnyValue:
    """What a sender makes of a Python value."""
    match plain:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=plain)
        case int():
            return AnyValue(int_value=plain)
        case float():
            return AnyValue(double_value=plain)
        case str():
            return AnyValue(string_value=plain)
        case bytes():
            return AnyValue(bytes_value=plain)
        case dict():
            found = AnyValue()
            found.kvlist_value.values.extend(KeyValue(key=key, value=value(item)) for key, item in plain.items())
            found.kvlist_value.SetInParent()
            return found
        case _:
            found = AnyValue()
            found.array_value.values.extend(map(value, plain))
            found.array_value.SetInParent()
            return found


def request(*bodies, file: str = "") -> ExportLogsServiceRequest:
    message = ExportLogsServiceRequest()
    resource = message.resource_logs.add()
    resource.resource.attributes.add(key="service.name", value=value("x"))
    records = resource.scope_logs.add().log_records
    for body in bodies:
        record = records.add(body=value(body), time_unix_nano=1)
        if file:
            record.attributes.add(key="log.file.path", value=value(file))
    return message


def as_json(message) -> bytes:
    return json_format.MessageToJson(message).encode()


def both(*bodies) -> list[bytes]:
    """The lines, which are the same from either encoding."""
    message = request(*bodies)
    lines = [text for _, text, *_ in decode_protobuf(message.SerializeToString())]
    assert [text for _, text, *_ in decode_json(as_json(message))] == lines
    return lines


def raw_json(body: str) -> bytes:
    return f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{body}}}]}}]}}]}}'.encode()


REQUIRED = ("timestamp", "agent_id", "session_id", "action", "status")


def nested(depth: int) -> str:
    """A map in a map, as OTLP/JSON."""
    start = '{"kvlistValue":{"values":[{"key":"k","value":'
    return start * depth + '{"stringValue":"x"}' + "}]}}" * depth


@pytest.fixture
def source():
    return OtlpSource(wake=lambda: None)


def pump(source, *, commits: bool = True) -> list[bytes]:
    """What the pipeline does in a turn; gives the lines."""
    lines = []
    while (batch := source.read()) is not None:
        lines += batch.lines
        source.note(batch.too_long, "")
    rows = list(source.changes())
    assert all(kind == ROW_KIND for kind, _, _ in rows)
    if commits:
        source.committed()
    else:
        source.refused()
    return lines


def pieces(*texts: str, file: str = "f"):
    return decode_protobuf(request(*texts, file=file).SerializeToString())


# --- decoding ------------------------------------------------------------------------------------------------------


def test_text_bytes_and_maps_are_lines():
    """A map is written as JSON again, and bytes are taken as they are in both encodings."""
    lines = both("text", b'{"a": "\xc3\xbc"}', {"a": [1, None, True, "é", {"b": b"\xff\xfe"}]}, ["x"], 7)
    assert lines == [b"text", '{"a": "ü"}'.encode(), '{"a":[1,null,true,"é",{"b":"//4="}]}'.encode(), b'["x"]', b"7"]


def test_integral_doubles_become_integers():
    """A collector's JSON parser makes every number a double."""
    assert both({"a": 3.0, "b": 0.5, "c": -0.0, "d": 2.0**60}) == [b'{"a":3,"b":0.5,"c":0,"d":1.152921504606847e18}']


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_rejected_by_the_line_decoder(number):
    """They are handed on as something that is counted, with a reason."""
    (text,) = both({"duration_ms": number})
    assert decode(text, NOW).reason == "out_of_range"


def test_a_map_is_counted_like_its_line():
    """A record that the collector parsed, and the record as it was written, make the same action."""
    fields = json.loads(line(tokens={"prompt": 5, "completion": 7}, duration_ms=12.5))
    (text,) = both(fields)
    found = decode(text, NOW)
    assert isinstance(found, Action)
    assert found == msgspec.structs.replace(decode(json.dumps(fields).encode(), NOW), line=text)


def test_empty_bodies_are_left_out():
    """They are nothing that an agent logged."""
    assert both(None, "", b"", "x") == [b"x"]
    assert decode_protobuf(b"") == decode_json(b"{}") == []


def test_null_is_a_default_in_json():
    """As in all of protobuf's JSON."""
    for text in (
        b'{"resourceLogs":null}',
        b'{"resourceLogs":[{"resource":null,"scopeLogs":null}]}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":null}]}]}',
        raw_json("null"),
        raw_json('{"stringValue":null}'),
        raw_json("{}"),
    ):
        assert decode_json(text) == []
    assert decode_json(raw_json('{"kvlistValue":{"values":null}}'))[0][1] == b"{}"
    assert decode_json(raw_json('{"arrayValue":{"values":[null,{}]}}'))[0][1] == b"[null,null]"


@pytest.mark.parametrize("depth", [100, 10_000, 200_000])
def test_deep_maps_never_crash(depth):
    """Either the request is malformed, or the line is too deep."""
    for text in (raw_json(nested(depth)), b'{"unknown":' + b"[" * depth + b"]" * depth + b"}"):
        try:
            lines = [found for _, found, *_ in decode_json(text)]
        except ValueError:
            continue
        assert [decode(found, NOW).reason for found in lines] in ([], ["missing_field"], ["too_deep"])
    body = AnyValue(string_value="x").SerializeToString()
    for _ in range(min(depth, 10_000)):
        body = _field(6, _field(1, _field(1, b"k") + _field(2, body)))
    lines = [found for _, found, *_ in decode_protobuf(_field(1, _field(2, _field(2, _field(5, body)))))]
    assert [decode(found, NOW).reason for found in lines] in (["missing_field"], ["too_deep"])


def _field(number: int, content: bytes) -> bytes:
    size, out = len(content), bytearray([number << 3 | 2])
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(out) + bytes([size]) + content


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x0a\x02\xff{", "bad_encoding"),  # string_value
        (b"\x32\x08\x0a\x06\x0a\x01k\x12\x01\x0a", "bad_encoding"),  # a map that is cut off
        (b"\x32\x07\x0a\x05\x0a\x01\xff\x12\x00", "bad_encoding"),  # a key of a map
    ],
)
def test_a_record_that_protobuf_refuses_leaves_its_neighbours_alone(body, reason):
    """A sender drops a batch that is answered with 400: one bad line would take a thousand good ones with it."""
    good = _field(2, _field(5, _field(1, line())))
    message = _field(1, _field(2, good + _field(2, _field(5, body)) + good))
    first, bad, last = [found for _, found, *_ in decode_protobuf(message)]
    assert (first, decode(bad, NOW).reason, last) == (line(), reason, line())


@pytest.mark.parametrize("body", [b"{}", b"\x0a\x05x", b"\x0a", b"\xff" * 20, b"\x0a\x04\x12\x02\x12\x05"])
def test_malformed_protobuf_is_a_value_error(body):
    """Cut off, of an unknown wire type, or something else altogether."""
    with pytest.raises(ValueError, match="not an ExportLogsServiceRequest"):
        decode_protobuf(body)


def test_depth_is_the_line_decoders():
    """What it takes it gets, and of what is one deeper a hash; only the fields of the record may not be so deep."""
    fields = json.loads(line())
    for depth in (62, 63, 64, 65):
        for name in ("input", "tokens"):
            values = [f'{{"key":"{key}","value":{{"stringValue":"{fields[key]}"}}}}' for key in REQUIRED]
            values.append(f'{{"key":"{name}","value":{nested(depth)}}}')
            ((_, text, *_),) = decode_json(raw_json('{"kvlistValue":{"values":[' + ",".join(values) + "]}}"))
            found = decode(text, NOW)
            if name == "input":
                assert isinstance(found, Action)
                assert isinstance(found, Mended) == (depth > 63)
            else:
                assert depth <= 63 or found.reason == "too_deep"


@pytest.mark.parametrize(
    "body",
    [
        '{"stringValue":"\\ud800"}',
        '{"kvlistValue":{"values":[{"key":"\\udfff"}]}}',
        '{"intValue":"1_0"}',
        '{"intValue":"' + "9" * 5000 + '"}',
        '{"intValue":9223372036854775808}',
        '{"intValue":' + "9" * 5000 + "}",
        '{"doubleValue":"much"}',
        '{"doubleValue":1e999}',
        '{"bytesValue":"!"}',
        '{"bytesValue":"a"}',
        '{"bytesValue":"é"}',
        '{"stringValue":5}',
        "[]",
    ],
)
def test_malformed_json_is_a_value_error(body):
    """Lone surrogates, numbers that are none, and wrong types."""
    with pytest.raises(ValueError, match="not OTLP/JSON"):
        decode_json(raw_json(body))


@pytest.mark.parametrize("alphabet", [base64.b64encode, base64.urlsafe_b64encode])
def test_either_base64_is_read(alphabet):
    """With and without padding, as protobuf's JSON has it."""
    text = alphabet(b"\xff\xfe\xfd?").decode()
    for variant in (text, text.rstrip("=")):
        assert decode_json(raw_json(f'{{"bytesValue":"{variant}"}}'))[0][1] == b"\xff\xfe\xfd?"


def test_the_number_of_records_is_bounded(monkeypatch):
    """Twenty megabytes of nothing would be ten million of them."""
    monkeypatch.setattr(otlp_records, "MAX_RECORDS", 3)
    message = request(*"abcd")
    with pytest.raises(ValueError, match="send fewer"):
        decode_protobuf(message.SerializeToString())
    with pytest.raises(ValueError, match="send fewer"):
        decode_json(as_json(message))


def test_protobuf_of_nothing_but_fields_is_given_up_on(monkeypatch):
    """Ten million empty resources, scopes or records are no lines, but take time."""
    monkeypatch.setattr(otlp_protobuf, "MAX_FIELDS", 100)
    for message in (_field(1, b"") * 102, _field(1, _field(2, b"") * 102), b"\x08\x00" * 102):
        with pytest.raises(ValueError, match="send fewer"):
            decode_protobuf(message)


def test_a_record_of_nothing_but_attributes_is_too_long(source):
    """It is not taken apart, and its neighbours count."""
    good = _field(2, _field(5, _field(1, line())))
    message = _field(1, _field(2, _field(2, _field(6, b"") * 2_500_000) + good))
    source.deliver(decode_protobuf(message))
    batch = source.read()
    assert (batch.lines, batch.too_long) == ([line()], 1)


def test_json_of_nothing_but_objects_is_given_up_on():
    """Each would take a hundred bytes of memory."""
    with pytest.raises(ValueError, match="too many objects"):
        decode_json(raw_json("{}," * 2_000_000))


def test_streams_are_told_apart_by_resource_and_file():
    """The names are the same in each request, and for each order of attributes."""
    first, second = pieces("a", "b")
    assert first[0] == second[0] == pieces("c")[0][0]
    assert first[0] != pieces("a", file="g")[0][0]
    other = request("a", file="f")
    other.resource_logs[0].resource.attributes[0].value.string_value = "y"
    assert decode_protobuf(other.SerializeToString())[0][0] != first[0]


@given(st.binary(max_size=300))
def test_any_bytes_give_lines_or_a_value_error(data):
    """From either decoder."""
    for decoder in (decode_protobuf, decode_json):
        try:
            found = decoder(data)
        except ValueError:
            continue
        else:
            assert all(isinstance(text, bytes) and text for _, text in found)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(plain, max_size=4))
def test_both_encodings_give_the_same_lines(bodies):
    """Whatever the bodies are."""
    both(*bodies)


@given(plain, st.data())
def test_damaged_requests_give_lines_or_a_value_error(body, data):
    """A byte changed, left out or put in."""
    message = request(body, "x", file="f")
    for decoder, valid in ((decode_protobuf, message.SerializeToString()), (decode_json, as_json(message))):
        at = data.draw(st.integers(0, len(valid) - 1))
        cut = data.draw(st.integers(0, 3))
        damaged = valid[:at] + data.draw(st.binary(max_size=3)) + valid[at + cut :]
        with contextlib.suppress(ValueError):
            decoder(damaged)


# --- the queue -----------------------------------------------------------------------------------------------------


def test_what_waits_now_is_a_backlog_if_it_counts_and_what_comes_later_is_not(source):
    """Of three requests the second has a record of the pod that counts."""
    own, other = (Origin(attributes=(("k8s.pod.name", name),)) for name in ("own", "other"))
    assert source.backlog(lambda _: True) is None
    for origins in ((other,), (other, own), (other,)):
        source.deliver([Record("s", b"x", origin) for origin in origins])
    assert source.backlog(lambda _: False) is None
    assert source.unread() == 4 * (1 + requests.PER_RECORD)
    read = source.backlog(lambda origin: origin is own)
    source.read()
    source.deliver([Record("s", b"x", own)])
    assert not read()
    source.read()
    assert read()


def test_an_answer_comes_only_after_the_commit(source):
    """And tells how many lines were rejected."""
    answer = source.deliver([Record("s", b"x")])
    assert not source.impatient
    assert source.read().lines == [b"x"]
    source.note(1, "why")
    assert source.impatient
    assert not answer.done()
    source.committed()
    assert answer.result(0) == Receipt(1, "why")
    assert not source.impatient
    assert source.read() is None


def test_a_full_queue_is_busy():
    """By requests, by bytes, and by the number of even the smallest records."""
    source = OtlpSource(wake=lambda: None, max_requests=2, max_bytes=1000)
    source.deliver([Record("s", b"x" * 5000)])  # a single one may be larger: it could never be taken otherwise
    with pytest.raises(QueueFull):
        source.deliver([Record("s", b"x")])
    pump(source)
    source.deliver([Record("s", b"x")] * 6)
    with pytest.raises(QueueFull):
        source.deliver([Record("s", b"x")])
    pump(source)
    source.deliver([])
    source.deliver([])
    with pytest.raises(QueueFull):
        source.deliver([])
    assert pump(source) == []
    assert source.deliver([]).cancel()


def test_a_refusing_disk_and_the_end_are_busy(source):
    """Those who wait are told to try again, read or not."""
    read = source.deliver([Record("s", b"x")])
    source.read()
    source.note(0, "")
    waiting = source.deliver([Record("s", b"y")])
    source.refused()
    for answer in (read, waiting):
        assert isinstance(answer.exception(0), QueueFull)
    again = source.deliver([Record("s", b"x")])
    source.close("shutting down")
    assert str(again.exception(0)) == "shutting down"
    with pytest.raises(QueueFull, match="shutting down"):
        source.deliver([Record("s", b"x")])


def test_who_gave_up_waiting_is_not_counted(source):
    """They send it again."""
    gone, kept = source.deliver([Record("s", b"gone")]), source.deliver([Record("s", b"kept")])
    last = source.deliver([Record("s", b"gone too")])
    assert gone.cancel()
    assert last.cancel()
    assert pump(source) == [b"kept"]
    assert kept.result(0) == Receipt()
    late = source.deliver([Record("s", b"late")])
    source.read()
    source.note(0, "")
    assert late.cancel()
    source.committed()


def test_lines_that_are_too_long_are_counted(source):
    """And nothing of them is handed on."""
    source.deliver([Record("s", b"x" * (2 * MAX_LINE + 1)), Record("s", b"x" * (MAX_LINE + 1)), Record("s", b"x")])
    batch = source.read()
    assert (batch.lines, batch.too_long) == ([b"x"], 2)


def test_nuls_before_a_line_are_dropped_and_counted(source):
    """As a collector reads them in a file that was truncated under its writer."""
    source.deliver([Record("s", bytes(3 * MAX_LINE) + b"x"), Record("s", b"\0y\0z")])
    assert source.read() == Batch([b"x", b"y\0z"], 0, 3 * MAX_LINE + 1, [b"", b""])


def envelopes(message) -> list[list[bytes]]:
    """Of the records, by either encoding."""
    return [
        [record.envelope for record in decoded]
        for decoded in (decode_protobuf(message.SerializeToString()), decode_json(as_json(message)))
    ]


def test_a_record_is_known_by_its_own_times_attributes_and_ids():
    """Not by its body, which is its line, nor by resource and scope: another collector may pass it on."""
    message = request("x", "y", "x", "x", "x", "x")
    records = message.resource_logs[0].scope_logs[0].log_records
    records[2].observed_time_unix_nano = 7
    records[3].attributes.add(key="n", value=value(1))
    records[4].span_id = b"12345678"
    records[5].time_unix_nano = 2
    for found in envelopes(message):
        assert found[0] == found[1]
        assert len(set(found)) == 5
    again = request("x")
    again.resource_logs[0].resource.attributes.add(key="k8s.node.name", value=value("b"))
    again.resource_logs[0].scope_logs[0].scope.name = "filelog"
    assert [found[0] for found in envelopes(again)] == [found[0] for found in envelopes(message)]


def test_a_time_that_is_none_harms_no_record():
    """It only tells records apart."""
    text = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":1.5e18,"traceId":7,"body":{"stringValue":"x"}}]}]}]}'
    assert [record.line for record in decode_json(text)] == [b"x"]


# --- formats and pieces -------------------------------------------------------------------------------------------


def test_wrapped_bodies_are_unwrapped(source):
    """Each record for itself: those of one stream need not come from one file."""
    docker = json.dumps({"log": '{"a":1}\n', "stream": "stdout", "time": "t"})
    source.deliver(pieces('{"p":1}', docker, CUT.format("F", '{"b":2}'), docker, '{"p":2}', " "))
    assert pump(source) == [b'{"p":1}', b'{"a":1}', b'{"b":2}', b'{"a":1}', b'{"p":2}']
    assert not source._streams


def test_pieces_are_joined_over_requests_and_restarts(source):
    """What was answered with 200 is in the state, and leaves it when the line is complete."""
    source.deliver(pieces(CUT.format("P", '{"a":'), file="f"))
    source.deliver(pieces(CUT.format("P", '{"other":'), file="g"))
    source.read()
    source.note(0, "")
    source.read()
    source.note(0, "")
    state = {key: content for _, key, content in source.changes()}
    source.committed()
    assert len(state) == 2
    assert list(source.changes()) == []

    after = OtlpSource(wake=lambda: None)
    after.restore(state.items())
    after.deliver(pieces(CUT.format("F", "1}"), file="f"))
    assert after.read().lines == [b'{"a":1}']
    after.note(0, "")
    (row,) = after.changes()
    assert row[1] in state
    assert row[2] is None
    after.committed()
    after.deliver(pieces(CUT.format("F", "2}"), file="g"))
    assert pump(after) == [b'{"other":2}']
    assert after._held == 0


def test_pieces_of_a_refused_request_are_not_doubled_by_its_retry(source):
    """They go back to what the last commit holds, and so does the state."""
    source.deliver(pieces(CUT.format("P", "one ")))
    pump(source)
    for commits in (False, False, True):
        source.deliver(pieces(CUT.format("P", "two ")))
        pump(source, commits=commits)
        if not commits:
            ((_, _, row),) = source.changes()
            assert b"two" not in row
    for commits in (False, True):
        source.deliver(pieces(CUT.format("F", "three"), CUT.format("P", "next ")))
        assert pump(source, commits=commits) == [b"one two three"]
    source.deliver(pieces(CUT.format("F", "end")))
    assert pump(source) == [b"next end"]
    assert source._held == 0


def test_unfinished_pieces_are_bounded_and_never_lost_silently(monkeypatch):
    """The oldest are handed on as they are, so that they are counted as rejected."""
    source = OtlpSource(wake=lambda: None, max_requests=5000)
    for number in range(otlp.MAX_STREAMS + 10):
        source.deliver(pieces(CUT.format("P", f"piece {number}"), file=str(number)))
    assert pump(source) == [f"piece {number}".encode() for number in range(10)]
    assert len(source._streams) == otlp.MAX_STREAMS
    monkeypatch.setattr(otlp, "MAX_PIECES", source._held)
    source.deliver(pieces(CUT.format("P", "longer"), file="10"))
    assert pump(source) == [b"piece 11"]
    assert all(isinstance(decode(text, NOW), Rejection) for text in (b"piece 11",))


def test_a_piece_that_grew_too_long_is_counted_when_it_is_given_up(monkeypatch, source):
    """Also when its end never comes."""
    monkeypatch.setattr(otlp, "MAX_STREAMS", 1)
    source.deliver(pieces(CUT.format("P", "x" * MAX_LINE), CUT.format("P", "x")))
    assert pump(source) == []
    source.deliver(pieces(CUT.format("P", "y"), file="g"))
    batch = source.read()
    assert (batch.lines, batch.too_long) == ([], 1)
