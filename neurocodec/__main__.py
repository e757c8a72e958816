"""The command line as a process of its own: `neurocodec`, or `python -m neurocodec`."""

import atexit
import gc

from neurocodec.cli import main


def run() -> None:
    # torch is made of so many objects, which all stay, that to look for garbage among them takes a quarter of a call's time: while it is
    # imported, and when the process ends.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    main(prog_name="neurocodec")


if __name__ == "__main__":
    run()
