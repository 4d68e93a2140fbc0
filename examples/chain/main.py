"""Three services in a chain: A produces numbers, B squares them, C collects the squares.

B produces from inside its consumer: a number is acked only after its square was confirmed.
Each service is a function that adds its channels to an app. Without an argument all three share
one app; with ``a``, ``b`` or ``c`` this process is one of them (that needs a shared broker).
"""

import asyncio
import sys

from pydantic import BaseModel

from mqtransport import Consumer, Delivery, MQApp, Producer

NUMBERS = range(1, 11)


class Number(BaseModel):
    n: int


class Square(BaseModel):
    n: int
    square: int


class MP_Number(Producer[Number]):
    name = "number"


class MP_Square(Producer[Square]):
    name = "square"


class MC_Number(Consumer[Number]):
    name = "number"

    def __init__(self, squares: MP_Square) -> None:
        self.squares = squares

    async def consume(self, msg: Number, mq_app: MQApp, delivery: Delivery) -> None:
        # An id derived from the cause: if this runs twice, both squares have the same id.
        square = Square(n=msg.n, square=msg.n**2)
        await self.squares.send(square, message_id=f"square-{delivery.id}")


class MC_Square(Consumer[Square]):
    name = "square"

    def __init__(self) -> None:
        self.squares: dict[int, int] = {}
        self.complete = asyncio.Event()

    async def consume(self, msg: Square, mq_app: MQApp) -> None:
        self.squares[msg.n] = msg.square  # assigned, not added: harmless if it comes twice
        if len(self.squares) == len(NUMBERS):
            self.complete.set()


async def add_a(app: MQApp) -> MP_Number:
    outgoing = await app.create_producing_channel("numbers")
    outgoing.add_producer(numbers := MP_Number())
    return numbers


async def add_b(app: MQApp) -> None:
    outgoing = await app.create_producing_channel("squares")
    outgoing.add_producer(squares := MP_Square())
    incoming = await app.create_consuming_channel("numbers")
    incoming.add_consumer(MC_Number(squares))


async def add_c(app: MQApp) -> MC_Square:
    incoming = await app.create_consuming_channel("squares")
    incoming.add_consumer(collector := MC_Square())
    return collector


async def main(services: str = "abc") -> None:
    app = await MQApp.connect()
    if services != "abc" and not app.broker.capabilities.durable:
        raise SystemExit("this broker lives in one process; for more, set MQ_URL (README.md)")
    numbers = await add_a(app) if "a" in services else None
    if "b" in services:
        await add_b(app)
    collector = await add_c(app) if "c" in services else None

    async with app:
        if numbers is not None:
            for n in NUMBERS:
                await numbers.send(Number(n=n))
            print(f"A sent {len(NUMBERS)} numbers")
        if collector is not None:
            await asyncio.wait_for(collector.complete.wait(), timeout=60)
            print(f"C collected {len(collector.squares)} squares,", end=" ")
            print(f"their sum is {sum(collector.squares.values())}")
        if services == "b":
            await app.run_forever()  # until Ctrl-C or SIGTERM


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
