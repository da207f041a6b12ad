# Crops of SCRFD (https://arxiv.org/abs/2105.04714): the square's side is one of these
# shares of the photograph's shorter side. On WIDER FACE hard at VGA, ResNet-50:
# TinaFace .814 with 173 GFLOP, SCRFD's recipe .840 with 34.
# Half of SCRFD's shares, .3 to 2, as its crops become 640 pixels and these 320.
_base_ = 'base_faces.py'

train_dataloader = _base_.train_dataloader
for _set in train_dataloader.dataset.datasets:
    _pipeline = _set.get('dataset', _set).pipeline
    _pipeline[1] = dict(
        type='LoadSquareCrop',
        size=_pipeline[1].size,
        side_choices=(0.15, 0.225, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        max_tries=250,
    )
del _set, _pipeline
