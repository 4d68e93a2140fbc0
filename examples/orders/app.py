"""The shortest correct application: an endpoint that sends, and a consumer that handles.

``GET /handled`` is there for the demonstration only: it shows which orders were handled.
"""

from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from fastapi_mq import FastMQ, Producer


class Order(BaseModel):
    id: int


app = FastAPI()
app.state.handled = []
mq = FastMQ(app)  # wraps the app's lifespan, adds /health/mq and the 503 mapping
orders = mq.producer("orders", Order)  # a dependency that hands out a Producer[Order]


@mq.consumer("orders")
async def handle(order: Order) -> None:
    print("order", order.id)
    app.state.handled.append(order.id)


@app.post("/orders", status_code=202)
async def place(order: Order, producer: Annotated[Producer[Order], Depends(orders)]) -> None:
    await producer.send(order)


@app.get("/handled")
async def handled() -> list[int]:
    return list(app.state.handled)
