"""Runs on a rehearsal host: a FastAPI application with Bisheng's WebSockets, on their paths.

As there, who has not logged in is refused before the connection is opened: uvicorn answers 403.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket, WebSocketDisconnect, status
from fastapi.exceptions import HTTPException

app = FastAPI()


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "OK"}


class NotLoggedInError(Exception):
    """The cookie of a login is missing."""


async def refuse(websocket: WebSocket, _: Exception) -> None:
    await websocket.close(code=status.WS_1008_POLICY_VIOLATION)


app.add_exception_handler(NotLoggedInError, refuse)


def login(websocket: WebSocket) -> str:
    token = websocket.cookies.get("access_token_cookie") or websocket.query_params.get("t")
    if token != "a-login":
        raise NotLoggedInError
    return token


async def talk(websocket: WebSocket, **about: Any) -> None:
    await websocket.accept()
    query = dict(websocket.query_params)
    await websocket.send_json({"type": "begin", "query": query, **about})
    try:
        while True:
            await websocket.send_json({"type": "end", "said": await websocket.receive_text()})
    except WebSocketDisconnect:
        return


v1 = APIRouter(prefix="/api/v1")


@v1.websocket("/workflow/chat/{workflow_id}")
async def workflow(
    websocket: WebSocket, workflow_id: str, chat_id: str = "", _: str = Depends(login)
) -> None:
    await talk(websocket, workflow_id=workflow_id, chat_id=chat_id)


@v1.websocket("/assistant/chat/{assistant_id}")
async def assistant(websocket: WebSocket, assistant_id: str, _: str = Depends(login)) -> None:
    await talk(websocket, assistant_id=assistant_id)


@v1.websocket("/linsight/workbench/task-message-stream")
async def task_messages(
    websocket: WebSocket, session_version_id: str, _: str = Depends(login)
) -> None:
    await talk(websocket, session_version_id=session_version_id)


@v1.post("/knowledge/upload")
async def upload(request: Request) -> dict[str, int]:
    length = 0
    async for part in request.stream():
        length += len(part)
    return {"bytes": length}


@v1.get("/env")
def environment(request: Request) -> dict[str, Any]:
    if "x-forwarded-for" not in request.headers:
        raise HTTPException(500, "no proxy has been here")
    return {name: request.headers.get(name) for name in ("host", "x-real-ip")}


app.include_router(v1)
