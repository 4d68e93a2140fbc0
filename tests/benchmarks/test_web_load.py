import asyncio

import pytest

from benchmarks.peers import web_load

ANSWER = b"HTTP/1.1 202 Accepted\r\ndate: now\r\nContent-Length: 4\r\n\r\nnull"
REQUEST = web_load.post("/orders", b"{}")


@pytest.mark.parametrize(
    ("received", "size"),
    [
        (ANSWER[:20], None),
        (ANSWER[:-4], len(ANSWER)),
        (ANSWER, len(ANSWER)),
        (ANSWER + ANSWER[:9], len(ANSWER)),
        (b"HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n", 38),
    ],
)
def test_the_size_of_an_answer_is_known_from_its_head(received: bytes, size: int | None) -> None:
    assert web_load.size_of_answer(received) == size


async def load(answer: bytes, *, count: int = 50, close: bool = False) -> tuple[int, int]:
    """Put load on a server that answers in two pieces; return its requests and connections."""
    requests = connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests, connections
        connections += 1
        try:
            while await reader.readexactly(len(REQUEST)) == REQUEST:
                requests += 1
                writer.write(answer[:15])
                await writer.drain()
                await asyncio.sleep(0)
                writer.write(answer[15:])
                if close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await web_load.run(port, REQUEST, count, connections=4, status=202)
    return requests, connections


async def test_so_many_requests_are_shared_by_the_connections() -> None:
    assert await load(ANSWER) == (50, 4)


async def test_fewer_requests_than_connections_end_too() -> None:
    assert (await load(ANSWER, count=2))[0] == 2


async def test_another_status_is_an_error_that_shows_the_answer() -> None:
    with pytest.raises(web_load.BadAnswerError, match="422"):
        await load(ANSWER.replace(b"202", b"422"))


async def test_a_connection_that_is_closed_is_an_error() -> None:
    with pytest.raises(web_load.BadAnswerError, match="closed"):
        await load(ANSWER, close=True)
