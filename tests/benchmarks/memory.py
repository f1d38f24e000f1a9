"""The most memory that a command takes, and its time.

python tests/benchmarks/memory.py mtl train sentence-embeddings --output runs/x
"""

import resource
import subprocess
import sys
import time


def main() -> None:
    started = time.perf_counter()
    status = subprocess.run(sys.argv[1:]).returncode
    seconds = time.perf_counter() - started
    size = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    megabytes = size / 2**20 if sys.platform == "darwin" else size / 2**10
    print(f"exit {status}, {seconds:.0f} s, at most {megabytes:,.0f} MB", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
