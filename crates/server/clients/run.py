"""Starts a server and lets clients and a browser talk to it: python run.py [--record] STERNA [CLIENT…]

With --record, the requests of the named clients, and the kinds of values that they need of the answers, are written to
recorded/NAME.jsonl; `cargo test --test recorded` sends them again."""
import os
import pathlib
import subprocess
import sys
import tempfile

from record import Recorder

HERE = pathlib.Path(__file__).parent
PYTHON = sys.executable
NODE = pathlib.Path(sys.executable).with_name("node")
CLIENTS = {
    "openai_client.py": PYTHON,
    "openai_client.mjs": NODE,
    "ollama_client.py": PYTHON,
    "ollama_client.mjs": NODE,
    "anthropic_client.py": PYTHON,
    "llm_client.py": PYTHON,
    "page.mjs": NODE,
}
# Clients that take over 90 s to install, which `make clients-all` runs.
SLOW = {"slow/lm_eval_client.py": PYTHON, "slow/promptfoo_client.py": PYTHON}


class Server:
    """`sterna serve` as a process, on a port of its own."""

    def __init__(self, program, *options):
        self.log = tempfile.TemporaryFile("w+")
        command = [program, "serve", "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.url = self.process.stdout.readline().removeprefix("listening on ").strip()
        assert self.url, self.logged()

    def logged(self):
        self.log.seek(0)
        return self.log.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        code = self.process.wait()
        assert code == 0, f"the server ended with {code}:\n{self.logged()}"


def run(name, url, program):
    environment = {**os.environ, "STERNA": str(program)}
    done = subprocess.run([(CLIENTS | SLOW)[name], HERE / name, url], env=environment, timeout=300)
    print("test", name, "... ok" if done.returncode == 0 else "... FAILED", flush=True)
    return done.returncode == 0


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--record"]
    recording = "--record" in sys.argv[1:]
    program, chosen = pathlib.Path(arguments[0]).resolve(), arguments[1:] or CLIENTS
    failed = []
    with Server(program, "--model-name", "sterna") as server:
        for name in chosen:
            if recording:
                file = HERE / "recorded" / f"{pathlib.Path(name).stem.removesuffix('_client')}.jsonl"
                with Recorder(server.url, file) as recorder:
                    passed = run(name, recorder.url, program)
            else:
                passed = run(name, server.url, program)
            failed += [name] * (not passed)
        if failed:
            print(server.logged()[-4000:])
    print(f"test result: {'FAILED' if failed else 'ok'}. {len(chosen) - len(failed)} passed; {len(failed)} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
