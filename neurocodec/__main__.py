"""The command line as a process of its own: `neurocodec`, or `python -m neurocodec`."""

import atexit
import gc

from neurocodec.cli import main


def run() -> None:
    # torch is made of so many objects that to look for garbage among them takes a sixth of a call's time, in the end, when all are.
    atexit.register(gc.freeze)
    main(prog_name="neurocodec")


if __name__ == "__main__":
    run()
