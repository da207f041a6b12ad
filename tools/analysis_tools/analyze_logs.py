"""Draw losses over iterations and AP over epochs: mmdet's own analyze_logs.

All of its options work. mmdet recognizes validation figures by 'mAP' in their names;
here the log decides:
    analyze_logs.py plot_curve RUN/vis_data/scalars.json --keys AP --out ap.png
"""

import argparse
import importlib.util
import json
from pathlib import Path

from mmdet_srn._mmdet_tools import find_mmdet_tool


def main() -> None:
    """Run mmdet's script with names that it understands."""
    script = find_mmdet_tool('analysis_tools/analyze_logs')
    spec = importlib.util.spec_from_file_location('analyze_logs', script)
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    draw = theirs.plot_curve

    def plot_curve(logs: list[dict], args: argparse.Namespace) -> None:
        if args.style == 'dark':  # their default, which matplotlib no longer has
            args.style = 'default'
        if args.legend is None:
            args.legend = [
                f'{log}_{key}' for log in args.json_logs for key in args.keys
            ]
        # Their logs have no prefixes: widerface/AP is AP.
        args.keys = [key.split('/')[-1] for key in args.keys]
        validated = set().union(*map(figures_of_validation, args.json_logs))
        for log in logs:
            for epoch in log.values():
                for key in validated.intersection(args.keys):
                    epoch[f'{key} (mAP)'] = epoch.pop(key, [])
        args.keys = [f'{key} (mAP)' if key in validated else key for key in args.keys]
        draw(logs, args)

    theirs.plot_curve = plot_curve
    theirs.main()


def figures_of_validation(log: str) -> set[str]:
    """Return the names, without prefix, of validation figures in a scalars.json."""
    rows = map(json.loads, Path(log).read_text(encoding='utf-8').splitlines())
    return {name.split('/')[-1] for row in rows for name in row if '/' in name}


if __name__ == '__main__':
    main()
