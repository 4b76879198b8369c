"""Run the server until it is asked to stop; running answers may then end."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import FastAPI

from ..answer import Checkpoint
from .app import build_app
from .guard import LOCAL_NAMES
from .limits import Access, Limits

KEEP_CONNECTION_SECONDS = 5
LARGEST_HEADERS = 64 * 1024


@dataclass(frozen=True)
class Address:
    """Where a server listens.

    Raises:
        ValueError: a port out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8000

    def __post_init__(self) -> None:
        if not 0 <= self.port < 2**16:
            raise ValueError(f"port is {self.port}; give a number from 1 to 65535, or 0 for any that is free.")

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host in LOCAL_NAMES


@dataclass(frozen=True)
class Serving:
    """How checkpoints are served.

    Raises:
        ValueError: other machines could ask, and there is no key.
    """

    address: Address = field(default_factory=Address)
    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)

    def __post_init__(self) -> None:
        if not self.address.is_local and self.access.api_key is None:
            raise ValueError(
                f"Other machines reach {self.address.host}, and there is no API key; give --api-key-file, or listen on "
                "127.0.0.1."
            )


def run_server(checkpoints: Mapping[str, Checkpoint], serving: Serving) -> None:
    """Serve checkpoints, by the names under which clients ask for them, until SIGINT or SIGTERM."""
    run_app(build_app(checkpoints, serving.limits, serving.access), serving)


def run_app(app: FastAPI, serving: Serving) -> None:
    """Run an app until SIGINT or SIGTERM."""
    import uvicorn

    limits, address = serving.limits, serving.address
    config = uvicorn.Config(
        app,
        host=address.host,
        port=address.port,
        ws="none",
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=LARGEST_HEADERS,
        timeout_keep_alive=KEEP_CONNECTION_SECONDS,
        timeout_graceful_shutdown=max(1, round(limits.shutdown_seconds)),
    )
    uvicorn.Server(config).run()
