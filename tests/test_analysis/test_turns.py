from mmdet_srn.analysis.turns import take_turns


def test_takes_turns():
    calls = []
    functions = [lambda: calls.append('a'), lambda: calls.append('b')]
    medians = take_turns(functions, 2)
    assert calls == list('ababab')
    assert len(medians) == 2 and min(medians) >= 0


def test_medians_of_what_is_timed():
    """The first call warms up, and what comes before a call is not its time."""
    now = 0.0
    spent = iter([50, 1, 7, 1, 2, 1, 3, 1])  # a: 7, 2, 3

    def spend(seconds):
        nonlocal now
        now += seconds

    medians = take_turns(
        [lambda: spend(next(spent)), lambda: spend(next(spent))],
        3,
        clock=lambda: now,
        before=lambda: spend(100),
    )
    assert medians == [3, 1]
    assert now == 66 + 8 * 100
