"""What trainings print."""

from __future__ import annotations

from typing import Any


def print_event(event: dict[str, Any]) -> None:
    """A line for every hundredth step and for all that is not a step."""
    if event["event"] != "step":
        print(event, flush=True)
    elif event["step"] % 100 == 0:
        print(f"step {event['step']}, loss {event['loss']:.3f}, {event['fraction']:.1%}", flush=True)
