from mmdet_srn.benchmark.speed_plot import draw_speed


def test_points_and_lines(tmp_path):
    # of one name, as annotations of two folders may be
    aps = [('set', dict(a=0.5, b=0.9)), ('set', dict(a=0.1, b=0.2))]
    figure = draw_speed(aps, dict(a=20.0, b=300.0, c=40.0), 'ms of it')
    for axes, (title, found) in zip(figure.axes, aps, strict=True):
        assert axes.get_title() == title and axes.get_xlabel() == 'ms of it'
        a, b, c = ([*line.get_xdata()] for line in axes.lines)
        assert (a, b, set(c)) == ([20.0], [300.0], {40.0})
        assert [[*line.get_ydata()] for line in axes.lines[:2]] == [
            [found['a']],
            [found['b']],
        ]
    [legend] = figure.legends
    assert [text.get_text() for text in legend.texts] == ['a', 'b', 'c']
    figure.savefig(tmp_path / 'plot.png')
    assert 5_000 < (tmp_path / 'plot.png').stat().st_size < 100_000
