"""Servers of one model, in turns: python bench_serve.py NAME=URL [NAME=URL…] [--rounds N] [--chats N]

Any server with OpenAI's /v1/completions that takes token ids. Prompts are random tokens, new ones for every request; in
the second kind of round all chats begin with the same ones, new in every round, as with a system prompt. Prints medians
and ranges: tokens a second of many chats at once; the time to the first token of a short prompt, alone and while a long
prompt is read; and what the long prompt loses by that."""
import argparse
import asyncio
import json
import random
import statistics
import time
import urllib.parse

LONG = 3000
SHORT = 16
CHAT = 64
SYSTEM = 256


class Server:
    def __init__(self, name, url, dice):
        self.name, self.dice = name, dice
        address = urllib.parse.urlsplit(url)
        self.host, self.port = address.hostname, address.port

    def prompt(self, tokens):
        return [self.dice.randrange(1000, 100_000) for _ in range(tokens)]

    async def complete(self, prompt, tokens):
        """Seconds to the first token and to the end, and how many tokens came."""
        request = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
        body = json.dumps(request).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\n"
        begin, first, count = time.perf_counter(), None, 0
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=1 << 20)
        writer.write(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        while line := await reader.readline():
            if line.startswith(b"data: {"):
                chunk = json.loads(line[6:])
                assert "error" not in chunk, chunk
                first = first or time.perf_counter() - begin
                count = (chunk.get("usage") or {}).get("completion_tokens", count)
            if line.startswith(b"data: [DONE]"):
                break
        writer.close()
        assert first, "no token came"
        return first, time.perf_counter() - begin, count

    async def throughput(self, chats, system):
        system = self.prompt(system)
        begin = time.perf_counter()
        done = await asyncio.gather(*(self.complete(system + self.prompt(CHAT), CHAT) for _ in range(chats)))
        return sum(count for *_, count in done) / (time.perf_counter() - begin)

    async def first_tokens(self, count):
        idle = [(await self.complete(self.prompt(SHORT), 1))[0] for _ in range(count)]
        alone = (await self.complete(self.prompt(LONG), 1))[0]
        long = asyncio.create_task(self.complete(self.prompt(LONG), 1))
        await asyncio.sleep(0.5)
        busy = []
        while not long.done():
            busy.append((await self.complete(self.prompt(SHORT), 1))[0])
        return idle, busy[:-1], alone, (await long)[0]


def shown(values):
    return f"{statistics.median(values):.2f} [{min(values):.2f}–{max(values):.2f}]"


def p95(values):
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chats", type=int, default=16)
    given = parser.parse_args()
    dice = random.Random(7)
    servers = [Server(*server.split("=", 1), dice) for server in given.servers]
    for server in servers:
        await server.complete(server.prompt(SHORT), 4)
    for system in (0, SYSTEM):
        speeds = {server.name: [] for server in servers}
        for _ in range(given.rounds):
            for server in servers:
                speeds[server.name].append(await server.throughput(given.chats, system))
        first = speeds[servers[0].name]
        for server in servers:
            ratios = [ours / theirs for ours, theirs in zip(first, speeds[server.name])]
            print(f"{server.name}: {given.chats} chats, {system} tokens in common: {shown(speeds[server.name])} tok/s; {servers[0].name} is {shown(ratios)} times as fast", flush=True)
    for server in servers:
        idle, busy, alone, beside = [], [], [], []
        for _ in range(given.rounds):
            more = await server.first_tokens(8)
            idle += more[0]
            busy += more[1]
            alone.append(more[2])
            beside.append(more[3])
        print(f"{server.name}: first token of {SHORT} alone {shown(idle)} s, p95 {p95(idle):.2f}")
        print(f"{server.name}: first token of {SHORT} beside a prompt of {LONG} {shown(busy)} s, p95 {p95(busy):.2f}, {len(busy)} times")
        losses = [1 - one / other for one, other in zip(alone, beside)]
        print(f"{server.name}: first token of {LONG} alone {shown(alone)} s, beside short ones {shown(beside)} s, lost {shown(losses)}")


asyncio.run(main())
