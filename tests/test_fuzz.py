"""A small run of the fuzzer: mutants end in a picture or a clean error."""

import importlib.util
from pathlib import Path


def test_mutated_streams_end_in_a_picture_or_a_clean_error():
    path = Path(__file__).parent.parent / "benchmarks" / "fuzz.py"
    spec = importlib.util.spec_from_file_location("fuzz", path)
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    outcome = fuzz.run(count=300, seed=2)
    assert not outcome["failures"]
    assert outcome["pictures"] > 30 and outcome["stream_errors"] > 30 and outcome["model_errors"] > 10
