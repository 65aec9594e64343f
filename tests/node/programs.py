"""A program that speaks to the JSON API."""

from __future__ import annotations

import json
from typing import Any


class Program:
    """A client of the API with or without a bearer token."""

    def __init__(self, client: Any, token: str = "") -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        """Return status, body and headers of an answer."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.request(method, path, json=body, headers=self.headers | sent) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None, response.headers
