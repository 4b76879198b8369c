"""The server as a deployment of Ray Serve: several processes with the same models, behind one address.

    clients -> Ray's HTTP proxy with ClearErrors -> the replica with fewer requests: app, models, engine thread

A replica that dies loses the answers that it was writing, each with an error; Ray starts another one in its place.
"""

import logging
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

from ..ray_cluster import Wanted, import_ray, start_ray
from .limits import Limits
from .lost_answers import SETTING
from .replica import ModelSource, Replica
from .run_server import KEEP_CONNECTION_SECONDS, Address, Serving

APPLICATION = "planned-diffusion"
UNBOUNDED = 1_000_000  # requests at a replica, which refuses by itself what is too much
POLL_SECONDS = 0.1
SPARE_SECONDS = 10  # that Ray may take, beside the time that answers have


def run_replicas(
    models: Mapping[str, ModelSource], serving: Serving, wanted: Wanted, tell: Callable[[int, Address], object]
) -> None:
    """Serve models by several processes until SIGINT or SIGTERM; running answers may then end. On the main thread.

    Args:
        models: by the names under which clients ask for them.
        tell: called with the number of replicas and their address once all of them answer.

    Raises:
        ValueError: more replicas than GPUs, or an address that cannot be had.
        RuntimeError: no Ray, a cluster that serves already, or models that cannot be loaded.
    """
    ray = import_ray(wanted, "serve")
    serving = replace(serving, address=_free(serving.address, wanted))
    try:
        count, resources = start_ray(ray, wanted)
        for ending in (signal.SIGTERM, signal.SIGINT):  # Ray's own handler would leave Ray Serve running
            signal.signal(ending, signal.default_int_handler)  # also where SIGINT was ignored, as behind nohup
        with _serve_of(ray, serving, wanted) as serve:
            deployment = serve.deployment(serve.ingress()(Replica)).options(
                name="replica",
                num_replicas=count,
                ray_actor_options=resources,
                max_ongoing_requests=UNBOUNDED,
                max_constructor_retry_count=1,
                graceful_shutdown_timeout_s=serving.limits.shutdown_seconds,
                graceful_shutdown_wait_loop_s=POLL_SECONDS,
            )
            ready = partial(tell, count, serving.address)
            _run_until_stopped(serve, deployment.bind(models, serving), serving.limits, ready)
    except ray.exceptions.RayError as error:
        raise RuntimeError(f"Ray failed ({type(error).__name__}); its logs say why, by default in /tmp/ray.") from error
    finally:
        ray.shutdown()


@contextmanager
def _serve_of(ray: ModuleType, serving: Serving, wanted: Wanted) -> Iterator[ModuleType]:
    """Start Ray Serve, with an HTTP proxy on the head of the cluster, and end it where the cluster is not our own."""
    serve = ray.serve
    logging.getLogger("ray.serve").setLevel(logging.CRITICAL)  # errors arrive as exceptions
    running = serve.status() if wanted.cluster else None
    if running and (running.applications or running.proxies):
        raise RuntimeError(
            f"Ray Serve runs already on the Ray at {wanted.cluster}, with an address of its own; end that by serve "
            "shutdown, or give --ray another cluster."
        )
    http = {
        **vars(serving.address),
        "keep_alive_timeout_s": KEEP_CONNECTION_SECONDS,
        "request_timeout_s": serving.limits.answer_seconds + SPARE_SECONDS,  # where no replica is there to answer
    }
    settings = {"runtime_env": {"env_vars": SETTING}}
    try:
        serve.start(proxy_location="HeadOnly", http_options=http, controller_options=settings)
        yield serve
    finally:
        if wanted.cluster:
            serve.shutdown()


def _run_until_stopped(serve: ModuleType, application: Any, limits: Limits, tell: Callable[[], object]) -> None:  # noqa: ANN401 (of Ray)
    """Run an application of Ray Serve until a signal comes; then let running answers end."""
    try:
        serve.run(application, name=APPLICATION)
        tell()
        threading.Event().wait()
    except RuntimeError as error:
        raise failure_in(_told_of(serve) or str(error)) from error
    finally:
        serve.delete(APPLICATION, _blocking=False)
        end = time.monotonic() + limits.shutdown_seconds + SPARE_SECONDS
        while APPLICATION in serve.status().applications and time.monotonic() < end:
            time.sleep(POLL_SECONDS)


def _told_of(serve: ModuleType) -> str:
    """Return what Ray tells of replicas that could not start; nothing where it tells nothing."""
    told = serve.status().applications.get(APPLICATION)
    return "\n".join(one.message for one in told.deployments.values()) if told else ""


def failure_in(told: str) -> ValueError | RuntimeError:
    """Return the error that a traceback ends with: the ValueError of a model that cannot be loaded, or any other."""
    errors = list(re.finditer(r"^([A-Za-z_][\w.]*): ", told, re.MULTILINE))
    if not errors:
        return RuntimeError(f"The replicas could not start: {told}")
    kind, message = errors[-1][1], told[errors[-1].end() :].strip()
    return ValueError(message) if kind == "ValueError" else RuntimeError(f"A replica failed: {kind}: {message}")


def _free(address: Address, wanted: Wanted) -> Address:
    """Return the address with a port that is free, where it leaves the port open.

    Raises:
        ValueError: something listens there, it is not this machine's, or it leaves open a port of another machine.
    """
    if wanted.cluster is not None:
        if address.port == 0:
            raise ValueError("port is 0, and which one is free on the head of the Ray cluster is not known; give one.")
        return address
    with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET) as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind((address.host, address.port))
        except OSError as error:
            raise ValueError(
                f"Nothing can listen on {address.host}, port {address.port} ({error}); give --port another one."
            ) from error
        return replace(address, port=free.getsockname()[1])
