"""Mutated streams must end in a picture or a clean error, quickly and within bounded memory.

    python benchmarks/fuzz.py --count 10000

Streams of small pictures are mutated by flipped bits, cuts, splices and random bytes, the head more often than the rest.
Anything but a picture, StreamError or ModelError is a failure, and so is a decode of more than 5 s of processor time or one
that makes the process grow by more than 1 GB. Prints a summary as JSON; exit code 1 when anything failed.
"""

import json
import resource
import sys
import time

import click
import numpy as np
import skimage

import neurocodec

SECONDS, MEGABYTES = 5.0, 1024


def seeds() -> list[bytes]:
    """Good streams of several kinds: raw and coded passes, plain, with alpha, with checksum, cut, tiny."""
    photo = skimage.data.astronaut()[100:148, 200:264]
    alpha = np.dstack([photo, np.tile(np.arange(64, dtype=np.uint8), (48, 1))])
    return [
        neurocodec.encode(photo, model="conv-lstm", passes=3),
        neurocodec.encode(alpha, model="conv-lstm", passes=2),
        neurocodec.encode(photo, model="conv-lstm", passes=2, checksum=True),
        neurocodec.encode(photo, model="conv-lstm", bytes=70),
        neurocodec.encode(photo[:1, :1], model="conv-lstm", passes=1),
        neurocodec.encode(photo, model="photo", bpp=2),
        neurocodec.encode(alpha, model="photo", bytes=400),
        neurocodec.encode(photo, model="photo", bytes=90, checksum=True),
        neurocodec.encode(photo, model="preview", bytes=1000),
        neurocodec.encode(alpha, model="preview", bytes=200),
        neurocodec.encode(photo, model="preview", bytes=64, checksum=True),
        neurocodec.encode(photo[:1, :1], model="preview", passes=20),
    ]


def mutate(rng: np.random.Generator, good: list[bytes]) -> bytes:
    """One mutant of one of the good streams."""
    data = bytearray(good[rng.integers(len(good))])
    for _ in range(rng.integers(1, 4)):
        if not data:
            break
        end = min(len(data), 16) if rng.random() < 0.6 else len(data)
        at = int(rng.integers(end))
        match rng.integers(5):
            case 0:
                data[at] ^= 1 << rng.integers(8)
            case 1:
                del data[at:]
            case 2:
                other = good[rng.integers(len(good))]
                data[at:] = other[int(rng.integers(len(other))) :]
            case 3:
                data[at : at + int(rng.integers(1, 8))] = rng.bytes(int(rng.integers(1, 8)))
            case 4:
                data += rng.bytes(int(rng.integers(1, 400)))
    return bytes(data)


def run(count: int, seed: int) -> dict:
    """Decode `count` mutants; counts of what came out, the slowest decode and the process's growth."""
    rng, good = np.random.default_rng(seed), seeds()
    for stream in good:
        neurocodec.decode(stream)
    outcome: dict = {"pictures": 0, "stream_errors": 0, "model_errors": 0, "failures": []}
    slowest, before = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(count):
        data = mutate(rng, good)
        begin = time.process_time()
        try:
            neurocodec.decode(data)
            outcome["pictures"] += 1
        except neurocodec.StreamError:
            outcome["stream_errors"] += 1
        except neurocodec.ModelError:
            outcome["model_errors"] += 1
        except Exception as error:  # whatever else it is, it is what this script looks for
            outcome["failures"].append({"mutant": i, "hex": data.hex(), "error": repr(error)})
        seconds = time.process_time() - begin
        slowest = max(slowest, seconds)
        if seconds > SECONDS:
            outcome["failures"].append({"mutant": i, "hex": data.hex(), "error": f"{seconds:.1f} s"})
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if grown > MEGABYTES:
        outcome["failures"].append({"error": f"grew by {grown:.0f} MB"})
    return outcome | {"slowest_seconds": round(slowest, 2), "grown_megabytes": round(grown)}


@click.command()
@click.option("--count", default=10_000)
@click.option("--seed", default=1)
def main(count: int, seed: int) -> None:
    outcome = run(count, seed)
    click.echo(json.dumps(outcome, indent=1))
    sys.exit(bool(outcome["failures"]))


if __name__ == "__main__":
    main()
