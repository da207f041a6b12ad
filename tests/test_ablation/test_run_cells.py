"""Runs at the same time do not get into each other's way."""

import threading
from pathlib import Path
from types import SimpleNamespace

from mmdet_srn.ablation.result import State, write_config
from mmdet_srn.ablation.run_cells import Failure, _Progress


def test_a_run_that_starts_while_another_fails_is_not_lost():
    said = []
    progress = _Progress(2, 2, said.append)
    one, other = (SimpleNamespace(name=n, seed=0, folder=Path(n)) for n in 'ab')
    starter = threading.Thread(target=progress.start, args=('other', other, State.NEW))

    class Slow(dict):
        def items(self):
            for item in super().items():
                if not starter.ident:
                    starter.start()
                    starter.join(0.2)  # without a lock it is through by then
                yield item

    progress.start('one', one, State.NEW)
    progress.running = Slow(progress.running)
    progress.failed(Failure(one, 'no reason'))
    starter.join()
    assert progress.running == {'other': other}
    progress.done('other', other, 1.0)
    assert said[-1].startswith('other: done in 1 s; 2 of 2 done')


def test_the_config_is_replaced_as_a_whole_and_only_if_it_differs(tmp_path):
    run = SimpleNamespace(config=tmp_path / 'cell' / 'cell.py', text='x = 1\n')
    write_config(run)
    first = run.config.stat().st_ino
    write_config(run)
    assert run.config.stat().st_ino == first
    with run.config.open() as opened:  # by the training of another seed
        run.text = 'x = 2\n'
        write_config(run)
        assert opened.read() == 'x = 1\n'
    assert run.config.read_text() == 'x = 2\n'
    assert [path.name for path in run.config.parent.iterdir()] == ['cell.py']
