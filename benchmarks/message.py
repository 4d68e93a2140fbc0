"""The message that every way sends: 326 bytes of JSON."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice

from pydantic import BaseModel


class Order(BaseModel):
    """An order."""

    order_id: int
    customer: str
    items: list[str]
    note: str


def order(number: int) -> Order:
    """Return the order of this number."""
    items = [f"item-{number % 1000:03d}-{one}" for one in range(5)]
    return Order(order_id=number, customer="Ann Example", items=items, note="n" * 200)


def orders(count: int) -> Iterator[Order]:
    """Return so many orders, of at most a thousand objects: making them is not measured."""
    made = [order(number) for number in range(min(count, 1000))]
    return islice(cycle(made), count)
