"""Answer prompts with llama.cpp, in a process of its own: in one with torch each takes the other's threads.

    python benchmarks/llama_cpp.py model.gguf 2 128         2 threads, at most 128 tokens

Reads a prompt per line, a JSON list of token ids; writes a line each, with the number of tokens of its greedy answer.
The first line written says that the model is loaded.
"""

import json
import sys

import xllamacpp


def main(file: str, threads: int, most: int) -> None:
    """Answer until the input ends."""
    settings = xllamacpp.CommonParams()
    settings.model.path = file
    settings.n_ctx, settings.n_parallel, settings.verbosity = 2048, 1, -1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(settings)
    print("loaded", flush=True)
    for line in sys.stdin:
        asked = {"prompt": json.loads(line), "max_tokens": most, "temperature": 0, "cache_prompt": False}
        reply = server.handle_completions(asked)
        if "error" in reply:
            sys.exit(f"error: llama.cpp did not answer: {reply['error']}")
        print(reply["usage"]["completion_tokens"], flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
