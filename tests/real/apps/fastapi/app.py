"""A FastAPI app with sse-starlette, as its documentation shows it; the tests say what it sends."""

import asyncio
import os

import uvicorn
from fastapi import FastAPI, Request
from sse_starlette.sse import EventSourceResponse

app = FastAPI()
readers: set[asyncio.Queue] = set()
stats = {"/feed": {"open": 0, "total": 0, "heads": []}}


@app.get("/feed")
async def feed(request: Request) -> EventSourceResponse:
    queue: asyncio.Queue = asyncio.Queue()

    async def events():
        readers.add(queue)
        stats["/feed"]["open"] += 1
        try:
            while True:
                yield await queue.get()
        finally:
            stats["/feed"]["open"] -= 1
            readers.discard(queue)

    stats["/feed"]["total"] += 1
    stats["/feed"]["heads"] = [*stats["/feed"]["heads"], dict(request.headers)][-16:]
    return EventSourceResponse(events())


@app.post("/control/send")
async def send(events: list[dict]) -> dict:
    for event in events:
        fields = {"data": event["data"]}
        if "type" in event:
            fields["event"] = event["type"]
        for queue in readers:
            queue.put_nowait(fields)
    return {"sent": len(events)}


@app.get("/control/stats")
async def read_stats() -> dict:
    return stats


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=False)
