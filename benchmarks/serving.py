"""Measures servers: answers per second and times to the first and last token, for several numbers of users.

    python benchmarks/serving.py --out benchmarks/results/serving.json
    python benchmarks/serving.py --model smollm2-planner --users 1 8 --requests 64

Each user asks streamed questions about countries one after another. Ours answers from a process of its own, and then so
does `transformers serve` with the same checkpoint (an adapter is exported for both, merged into its base); the two take
turns, number of users by number of users. Columns:

    answers/s      of all users together; by one: over the same server with one user
    plan s         median seconds to the first part of the plan (ours only)
    text s, all s  median seconds to the first text, and to the end
    p95 s          seconds to the end that 95 % of the answers do not exceed
"""

import http.client
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import arguments, report, stamp

from planned_diffusion.cli.model_names import checkpoint_of
from planned_diffusion.facts.countries import load_countries
from planned_diffusion.hub.export import export
from planned_diffusion.loading.adapter_base import base_of

ATTRIBUTES = ("capital", "currency", "continent", "language", "demonym")
OURS, THEIRS = "ours", "transformers serve"
# The server of transformers looks a model's class up by its name in transformers.
START_THEIRS = (
    "import sys, transformers; from planned_diffusion import PlannedDiffusionForCausalLM as model; "
    "transformers.PlannedDiffusionForCausalLM = model; from transformers.cli.transformers import app; "
    "app(['serve', *sys.argv[1:]])"
)


@dataclass(frozen=True)
class Server:
    """A server that is asked: its port, and the model's name there."""

    name: str
    port: int
    model: str


@dataclass(frozen=True)
class Times:
    """Seconds from the request to the first part of the plan (None where none is told), first text and end."""

    plan: float | None
    text: float
    end: float


def questions(count: int, seed: int) -> list[str]:
    """Return questions about two or three attributes of a country."""
    noise, names = random.Random(seed), [country.name for country in load_countries()]
    picked = [noise.sample(ATTRIBUTES, noise.choice((2, 3))) for _ in range(count)]
    return [f"What are the {' and the '.join(each)} of {noise.choice(names)}?" for each in picked]


@contextmanager
def started(name: str, source: str, device: str) -> Iterator[Server]:
    """Start a server of a checkpoint in a process of its own, and wait until it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", device]
    if name == OURS:
        command, model = ["-m", "planned_diffusion", "serve", "--model", f"measured={source}", *options], "measured"
    else:
        command, model = ["-c", START_THEIRS, source, *options], source
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _is_up(port):
            if process.poll() is not None:
                raise RuntimeError(f"{name} did not start; run it alone to see why.")
            time.sleep(0.2)
        yield Server(name, port, model)
    finally:
        process.terminate()
        process.wait(60)


def _is_up(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def ask(server: Server, question: str) -> Times:
    """Ask one question as a stream."""
    body = {"model": server.model, "messages": [{"role": "user", "content": question}], "stream": True}
    if server.name == OURS:
        body["stream_plan"] = "parts"
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    began = time.perf_counter()
    plan = text = None
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    for line in response:
        seconds = time.perf_counter() - began
        if line.startswith(b"data: {"):
            delta = json.loads(line[6:])["choices"][0]["delta"]
            plan = seconds if plan is None and delta.get("plan") else plan
            text = seconds if text is None and delta.get("content") else text
    end = time.perf_counter() - began
    connection.close()
    return Times(plan, end if text is None else text, end)


def measure(server: Server, users: int, asked: Sequence[str]) -> dict:
    """Let so many users ask the questions; return a line of the table."""
    began = time.perf_counter()
    with ThreadPoolExecutor(users) as pool:
        times = list(pool.map(lambda question: ask(server, question), asked))
    seconds = time.perf_counter() - began
    plans = [one.plan for one in times if one.plan is not None]
    ends = sorted(one.end for one in times)
    return {
        "server": server.name,
        "users": users,
        "answers": len(asked),
        "answers/s": round(len(asked) / seconds, 3),
        "plan s": round(statistics.median(plans), 4) if plans else None,
        "text s": round(statistics.median(one.text for one in times), 4),
        "all s": round(statistics.median(ends), 4),
        "p95 s": round(ends[min(len(ends) - 1, int(0.95 * len(ends)))], 4),
    }


def compared(rows: list[dict]) -> list[dict]:
    """Add to each line its answers per second over those of the same server with the fewest users."""
    first: dict[str, float] = {}
    for row in rows:
        row["by one"] = round(row["answers/s"] / first.setdefault(row["server"], row["answers/s"]), 2)
    return rows


def main(args: Namespace) -> None:
    """Measure both servers and print the table."""
    source, rows = checkpoint_of(args.model), []
    names = (OURS,) if args.ours_only else (OURS, THEIRS)
    with ExitStack() as stack:
        if base_of(source):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            source = str(export(source, folder / "merged").folder)
        servers = [stack.enter_context(started(name, source, args.device)) for name in names]
        for server in servers:
            measure(server, 1, questions(args.warm_up, seed=1))
        for users in sorted(args.users):
            asked = questions(args.requests, seed=2)
            rows += [measure(server, users, asked) for server in servers]
    environment = stamp(model=args.model or "included", requests=args.requests)
    report("servers", compared(rows), environment, args.out)


if __name__ == "__main__":
    parser = arguments(__doc__ or "")
    parser.add_argument("--model", help="folder or name of a checkpoint or adapter; default: the included model")
    parser.add_argument("--users", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=100, help="per number of users and server")
    parser.add_argument("--warm-up", type=int, default=5)
    parser.add_argument("--ours-only", action="store_true")
    main(parser.parse_args())
