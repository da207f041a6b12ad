"""Keep only the weights of a training checkpoint, in float16.

    python tools/model_converters/halve_checkpoint.py RUN/iter_5000.pth srn.pth

After a run with EMA these are the averaged weights. The result loads as any other
checkpoint does, and detection computes in float32. Prints its SHA-256.
"""

import argparse
import hashlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from mmdet_srn.checkpoint_file import is_counter, load_checkpoint
from mmdet_srn.engine import AtomicLocalBackend
from mmdet_srn.trust import add_trust_option


def main(argv: Sequence[str] | None = None) -> int:
    """Read, round and write; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', metavar='CHECKPOINT')
    parser.add_argument('out', metavar='OUT.pth', type=Path, help='file to write')
    add_trust_option(parser)
    args = parser.parse_args(argv)
    try:
        checkpoint = load_checkpoint(args.checkpoint)
        buffer = io.BytesIO()
        torch.save(halve(checkpoint), buffer)
        AtomicLocalBackend().put(buffer.getvalue(), args.out)
    except (OSError, ValueError) as error:
        print(f'halve_checkpoint: {error}', file=sys.stderr)
        return 1
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    print(f'wrote {args.out}: {len(buffer.getvalue()) / 1e6:.1f} MB, SHA-256 {digest}')
    return 0


def halve(checkpoint: dict) -> dict:
    """Return the weights in float16, without counters, and the classes' names.

    Raises:
        ValueError: If float16 cannot hold a weight.
    """
    state = {}
    for name, value in checkpoint['state_dict'].items():
        if is_counter(name):
            continue
        state[name] = value.half() if value.is_floating_point() else value
        if not torch.isfinite(state[name]).all():
            raise ValueError(f'{name} has values that float16 cannot hold')
    known = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
    meta = dict(dataset_meta=dict(classes=known.get('classes') or ('face',)))
    return dict(state_dict=state, meta=meta)


if __name__ == '__main__':
    sys.exit(main())
