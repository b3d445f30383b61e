"""Parts of tornado that are nobody's but its own and that `server/` uses all the same: a new version shows them here."""

from __future__ import annotations

import inspect
import tomllib

import tornado
from conftest import HERE
from tornado import http1connection, iostream, tcpserver, web


def test_the_version_is_one_that_these_tests_have_seen():
    """The cap in pyproject.toml is raised by whoever has looked."""
    listed = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["dependencies"]
    [wanted] = [each for each in listed if each.startswith("tornado")]
    assert wanted == "tornado>=6.5.3,<6.7"
    assert (6, 5, 3) <= tornado.version_info[:3] < (6, 7)


def test_a_request_knows_whether_its_body_was_read():
    """`server.handlers` closes a connection whose body it does not read."""
    source = inspect.getsource(web._HandlerDelegate)
    assert "self.request._body_future = Future()" in source
    assert "set_result_unless_cancelled(self.request._body_future, None)" in source


def test_a_stream_has_what_is_not_sent_in_a_buffer_with_a_length():
    """`server.connections` bounds what readers leave unread."""
    assert "self._write_buffer = _StreamBuffer()" in inspect.getsource(iostream.BaseIOStream.__init__)
    assert len(iostream._StreamBuffer()) == 0


def test_a_server_takes_a_connection_in_one_place_and_keeps_its_sockets_by_descriptor():
    """`server.connections` accepts by itself."""
    server = tcpserver.TCPServer()
    assert (server._sockets, server._handlers) == ({}, {})
    assert list(inspect.signature(server._handle_connection).parameters) == ["connection", "address"]
    assert "self._handlers.pop(fd)()" in inspect.getsource(tcpserver.TCPServer.stop)


def test_an_answer_knows_whether_it_is_finished_and_why_it_failed():
    """`server.logs` ignores chunks after the answer, `server.handlers` says tornado's own reason."""
    source = inspect.getsource(web.RequestHandler)
    assert "self._finished = True" in source
    assert "self._reason = " in source
    assert callable(http1connection.HTTP1Connection.set_max_body_size)
