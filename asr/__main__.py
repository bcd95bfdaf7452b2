"""`python -m asr`: the command line, also under torchrun and accelerate launch."""

from asr.cli import main

main()
