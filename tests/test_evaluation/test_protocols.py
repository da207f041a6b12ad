from mmdet_srn.evaluation.protocols import describe_protocol


def test_description():
    assert describe_protocol('vga').startswith('vga (single scale, long side')
    assert describe_protocol('my own') == 'my own'
    assert 'nobody said' in describe_protocol('unknown')
