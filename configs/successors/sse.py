# Selective Scale Enhancement of MogFace (https://arxiv.org/abs/2103.11139; ranges of
# its code): every crop gives a random face a size from 16 pixels to P5 with probability
# .64, of its P5 with .2 and of its P6, here up to the crop, with .16. Published, WIDER
# FACE at a single scale: .956 / .941 on easy and medium.
_base_ = 'base_faces.py'

train_dataloader = _base_.train_dataloader
for _set in train_dataloader.dataset.datasets:
    _set.get('dataset', _set).pipeline[1].update(
        prob=1.0,
        size_ranges=((0.64, 16, 106.2), (0.2, 106.2, 212.4), (0.16, 212.4, 320)),
    )
del _set
