"""Many clients at once, some of them rude: python load.py STERNA [SECONDS [STREAMS]]

Every answer that is read to its end must be the text that the same request gets alone, whatever the others do: leave in
the middle, read slowly, close one half of their socket, send half a request or nonsense. Memory is compared with what it
was after a first round, a third as long, when all buffers have been there once."""
import asyncio
import collections
import json
import random
import sys
import time

from run import Server

THINGS = ["fox", "lantern", "boat", "king", "stone", "bird", "window", "bell", "garden", "bear", "letter", "star"]
PROMPTS = [f"Tell me a story about a {one} and a {other}." for one in THINGS for other in THINGS if one < other][:40]


def request(prompt, tokens, stream):
    said = [{"role": "system", "content": "You tell short stories."}, {"role": "user", "content": prompt}]
    return json.dumps({"messages": said, "temperature": 0, "max_tokens": tokens, "stream": stream}).encode()


def head(body, length=None):
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


class Load:
    def __init__(self, url, process):
        self.address = url.removeprefix("http://").split(":")
        self.process = process
        self.alone = {}
        self.counts = collections.Counter()
        self.wrong = []

    async def connect(self):
        return await asyncio.open_connection(*self.address, limit=1 << 16)

    async def send(self, data):
        reader, writer = await self.connect()
        writer.write(data)
        await writer.drain()
        return reader, writer

    async def whole(self, data):
        """Status and body of an answer that is not streamed."""
        reader, writer = await self.send(data)
        answer = await reader.read()
        writer.close()
        first, body = answer.split(b"\r\n\r\n", 1)
        return int(first.split()[1]), body

    async def text(self, reader, pause=0.0):
        """The text of a streamed answer; None if it breaks off."""
        text, status = "", int((await reader.readline()).split()[1])
        if status != 200:
            return f"status {status}"
        while line := await reader.readline():
            if line.startswith(b"data: [DONE]"):
                return text
            if line.startswith(b"data: "):
                choice = json.loads(line[6:])["choices"][0]
                text += choice["delta"].get("content") or ""
            if pause:
                await asyncio.sleep(pause)
        return None

    async def polite(self, key, body, dice):
        reader, writer = await self.send(head(body) + body)
        self.check("polite", key, await self.text(reader))
        writer.close()

    async def slow(self, key, body, dice):
        reader, writer = await self.send(head(body) + body)
        self.check("slow", key, await self.text(reader, dice.uniform(0.001, 0.02)))
        writer.close()

    async def leaves(self, key, body, dice):
        reader, writer = await self.send(head(body) + body)
        for _ in range(dice.randrange(12)):
            await reader.readline()
        writer.transport.abort() if dice.random() < 0.5 else writer.close()
        self.counts["left"] += 1

    async def half_closed(self, key, body, dice):
        reader, writer = await self.send(head(body) + body)
        writer.write_eof()
        # Who closes one half has left, unless the answer was quicker.
        await reader.read()
        writer.close()
        self.counts["half closed"] += 1

    async def half_sent(self, key, body, dice):
        _, writer = await self.send(head(body) + body[: dice.randrange(len(body))])
        await asyncio.sleep(dice.uniform(0, 0.2))
        writer.close()
        self.counts["half sent"] += 1

    async def malformed(self, key, body, dice):
        broken = bytearray(body)
        broken[dice.randrange(len(body))] = dice.choice(b'{}[]",\x00\xff')
        broken = bytes(broken[: dice.randrange(1, len(body))])
        status, _ = await self.whole(head(broken) + broken)
        if status != 400:
            self.wrong.append(f"status {status} for {broken}")
        self.counts["malformed"] += 1

    def check(self, kind, key, text):
        self.counts[kind] += 1
        if text != self.alone[key]:
            self.wrong.append(f"{kind} {key}: {text!r} instead of {self.alone[key]!r}")

    async def client(self, number, until):
        dice = random.Random(number)
        kinds = [self.polite] * 12 + [self.slow] * 3 + [self.leaves] * 3 + [self.half_closed, self.half_sent, self.malformed]
        while time.monotonic() < until:
            prompt, tokens = key = dice.choice(list(self.alone))
            await dice.choice(kinds)(key, request(prompt, tokens, True), dice)

    async def round(self, streams, seconds):
        until = time.monotonic() + seconds
        await asyncio.gather(*(self.client(number, until) for number in range(streams)))

    async def metrics(self):
        reader, writer = await self.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        lines = (await reader.read()).decode().splitlines()
        writer.close()
        return dict(line.rsplit(" ", 1) for line in lines if line.startswith("sterna_") and " " in line)

    async def idle(self):
        """Until nothing is asked for any more."""
        while True:
            counts = await self.metrics()
            if counts["sterna_waiting"] == counts["sterna_writing"] == "0":
                return counts
            await asyncio.sleep(0.1)

    def memory(self):
        """Resident MB that are the process's own."""
        with open(f"/proc/{self.process.pid}/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        return int(fields["RssAnon"].split()[0]) / 1000

    async def run(self, seconds, streams):
        dice = random.Random(0)
        fresh = self.memory()
        for prompt in PROMPTS:
            tokens = dice.randrange(20, 120)
            body = request(prompt, tokens, False)
            status, answer = await self.whole(head(body) + body)
            assert status == 200, answer
            self.alone[prompt, tokens] = json.loads(answer)["choices"][0]["message"]["content"]
        await self.round(streams, seconds / 3)
        await self.idle()
        before = self.memory()
        self.counts.clear()
        await self.round(streams, seconds)
        counts = await self.idle()
        after = self.memory()
        print(f"{streams} streams, {seconds} s:", ", ".join(f"{count} {kind}" for kind, count in self.counts.items()))
        print("generated tokens:", counts["sterna_generated_tokens_total"])
        print(f"memory: {fresh:.1f} MB fresh, {before:.1f} MB before, {after:.1f} MB after ({after / before - 1:+.1%})")
        for wrong in self.wrong[:10]:
            print("WRONG", wrong)
        assert not self.wrong, f"{len(self.wrong)} answers were wrong"
        # The system's allocator by itself moves by a megabyte or two from one round to the next.
        assert after - before <= max(0.05 * before, 4), "memory grew"


def main():
    seconds, streams = (int(text) for text in [*sys.argv[2:], *["180", "64"][len(sys.argv) - 2 :]])
    with Server(sys.argv[1], "--log", "quiet") as server:
        asyncio.run(Load(server.url, server.process).run(seconds, streams))
    print("test result: ok. 1 passed; 0 failed")


main()
