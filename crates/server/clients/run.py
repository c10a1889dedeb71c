"""Starts a server and lets official clients and a browser talk to it: python run.py STERNA [CLIENT…]"""
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
CLIENTS = {
    "openai_client.py": [sys.executable],
    "ollama_client.py": [sys.executable],
    "openai_client.mjs": [pathlib.Path(sys.executable).with_name("node")],
    "page.mjs": [pathlib.Path(sys.executable).with_name("node")],
}


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


def main():
    program, chosen = sys.argv[1], sys.argv[2:] or CLIENTS
    failed = []
    with Server(program) as server:
        for name in chosen:
            done = subprocess.run([*CLIENTS[name], HERE / name, server.url], timeout=300)
            print("test", name, "... ok" if done.returncode == 0 else "... FAILED", flush=True)
            failed += [name] * (done.returncode != 0)
        if failed:
            print(server.logged()[-4000:])
    print(f"test result: {'FAILED' if failed else 'ok'}. {len(chosen) - len(failed)} passed; {len(failed)} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
