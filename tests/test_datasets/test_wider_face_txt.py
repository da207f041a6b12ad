import pickle

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import ClassBalancedDataset, ConcatDataset
from mmengine.registry import init_default_scope

import mmdet_srn  # noqa: F401
from mmdet_srn.datasets import WIDERFaceTxtDataset
from mmdet_srn.datasets.wider_face_txt_reader import ATTRIBUTES

META_KEYS = (
    'img_id',
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'instances',
)
TEST_PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale_factor=2.0, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=META_KEYS),
]
# Of a.jpg: a good face, an invalid one, a degenerate one, a small one.
ANNOTATION = """0--A/a.jpg
4
10 5 20 25 1 0 1 0 2 1
1 1 10 12 2 0 0 1 0 0
7 7 0 5 0 0 0 0 0 0
40 30 3 4 0 0 0 0 0 0
0--A/empty.jpg
0
0 0 0 0 0 0 0 0 0 0
1--B/only_invalid.jpg
1
1 1 10 12 0 0 0 1 0 0
"""


@pytest.fixture(autouse=True)
def default_scope():
    init_default_scope('mmdet')


@pytest.fixture
def root(tmp_path):
    """A data set of three images in the official layout; the last one is small."""
    images = {'0--A/a': (48, 64), '0--A/empty': (50, 40), '1--B/only_invalid': (20, 64)}
    for name, shape in images.items():
        file = tmp_path / 'WIDER_train' / 'images' / f'{name}.jpg'
        file.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(file), np.full((*shape, 3), 128, np.uint8))
    (tmp_path / 'wider_face_split').mkdir()
    _annotation(tmp_path).write_text(ANNOTATION)
    return tmp_path


def _annotation(root):
    return root / 'wider_face_split' / 'wider_face_train_bbx_gt.txt'


def _image(root, name='0--A/a.jpg'):
    return root / 'WIDER_train' / 'images' / name


def _build(root, **kwargs):
    config = dict(
        type='WIDERFaceTxtDataset',
        data_root=str(root),
        ann_file='wider_face_split/wider_face_train_bbx_gt.txt',
        data_prefix=dict(img='WIDER_train/images'),
    )
    return DATASETS.build(config | kwargs)


def _flags(dataset, index=0):
    instances = dataset.get_data_info(index)['instances']
    return [face['ignore_flag'] for face in instances]


def test_items(root):
    dataset = _build(root)
    assert isinstance(dataset, WIDERFaceTxtDataset)
    assert dataset.metainfo['classes'] == ('face',)
    assert len(dataset) == 3
    info = dataset.get_data_info(0)
    assert info['img_id'] == '0--A/a'
    assert info['event'] == '0--A'
    assert info['img_path'] == str(_image(root))
    assert info['instances'][0] == dict(
        bbox=[10.0, 5.0, 30.0, 30.0],
        bbox_label=0,
        ignore_flag=0,
        blur=1,
        expression=0,
        illumination=1,
        invalid=0,
        occlusion=2,
        pose=1,
    )
    assert _flags(dataset) == [0, 1, 1, 0]
    assert dataset.get_data_info(1)['instances'] == []
    # Small faces are ignored in training only.
    filter_cfg = dict(bbox_min_size=4)
    assert _flags(_build(root, filter_cfg=filter_cfg)) == [0, 1, 1, 1]
    assert _flags(_build(root, filter_cfg=filter_cfg, test_mode=True)) == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ('arguments', 'names'),
    [
        (dict(filter_cfg=dict(filter_empty_gt=True)), ['a']),
        (dict(filter_cfg=dict(filter_empty_gt=False)), ['a', 'empty', 'only_invalid']),
        (
            dict(filter_cfg=dict(filter_empty_gt=True), invalid_faces='keep'),
            ['a', 'only_invalid'],
        ),
        (
            dict(filter_cfg=dict(filter_empty_gt=True), test_mode=True),
            ['a', 'empty', 'only_invalid'],
        ),
        (dict(filter_cfg=dict(min_size=20)), ['a', 'empty', 'only_invalid']),
        (dict(filter_cfg=dict(min_size=21)), ['a', 'empty']),
        (dict(filter_cfg=dict(min_size=41)), ['a']),
        (dict(filter_cfg=dict(min_size=41), test_mode=True, indices=2), ['a', 'empty']),
    ],
)
def test_which_images(root, arguments, names):
    dataset = _build(root, **arguments)
    found = [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))]
    assert [name.split('/')[1] for name in found] == names


def test_corners_taken_for_sizes(tmp_path, log):
    cv2.imwrite(str(tmp_path / 'a.jpg'), np.zeros((48, 64, 3), np.uint8))
    rest = '0 0 0 0 0 0'
    for row, warned in (('20 10 50 40', True), ('20 10 30 30', False)):
        log.clear()
        (tmp_path / 'a.txt').write_text(f'a.jpg\n1\n{row} {rest}\n')
        DATASETS.build(
            dict(
                type='WIDERFaceTxtDataset',
                ann_file=str(tmp_path / 'a.txt'),
                data_prefix=dict(img=str(tmp_path)),
            )
        )
        assert any('--corners' in record.getMessage() for record in log) == warned


def test_log_line(root, log):
    _build(
        root,
        degenerate_boxes='drop',
        filter_cfg=dict(filter_empty_gt=True, bbox_min_size=4),
    )
    (message,) = (record.getMessage() for record in log)
    assert message == (
        f'{_annotation(root)}: 1 of 3 images used (2 without faces to find; 2 of these '
        'removed), 5 faces (3 ignored; 1 dropped; 2 invalid: ignore; '
        '1 degenerate: drop; 1 below bbox_min_size: ignore)'
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(invalid_faces='remove'), "invalid_faces .*'drop'.*, not 'remove'"),
        (dict(degenerate_boxes='keep'), "degenerate_boxes .*'drop'.*, not 'keep'"),
        (dict(filter_cfg=dict(filter_empty=True)), 'filter_empty_gt.*filter_empty'),
        (dict(filter_cfg=dict(min_size=1000)), 'leaves none of the 3 images'),
    ],
)
def test_bad_arguments(root, arguments, message):
    with pytest.raises(ValueError, match=message):
        _build(root, **arguments)


def test_file_list_of_the_test_split(root):
    list_file = root / 'wider_face_split' / 'wider_face_test_filelist.txt'
    list_file.write_text('0--A/a.jpg\n0--A/empty.jpg\n')
    dataset = _build(
        root,
        ann_file='wider_face_split/wider_face_test_filelist.txt',
        pipeline=TEST_PIPELINE,
        test_mode=True,
    )
    sample = dataset[0]['data_samples']
    assert len(dataset) == 2
    assert sample.img_id == '0--A/a'
    assert sample.instances == []
    assert sample.gt_instances.bboxes.shape == (0, 4)


def test_no_data_folder(root):
    with pytest.raises(FileNotFoundError) as caught:
        _build(root / 'nowhere')
    for word in ('nowhere', 'WIDER_train.zip', 'train_dataloader.dataset.data_root'):
        assert word in str(caught.value)
    with pytest.raises(FileNotFoundError, match="image folder '.*WIDER_val/images'"):
        _build(root, data_prefix=dict(img='WIDER_val/images'))


@pytest.mark.parametrize(
    ('content', 'message'),
    [('0--A/a.jpg\n1\n1 2 3\n', r'bbx_gt\.txt:3: '), ('\n', 'lists no images')],
)
def test_bad_annotation(root, content, message):
    _annotation(root).write_text(content)
    with pytest.raises(ValueError, match=message):
        _build(root)


def test_scenes_without_faces_where_they_are_asked_for(root):
    _annotation(root).write_text('0--A/a.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n')
    for filter_cfg in (None, dict(filter_empty_gt=True)):
        with pytest.raises(ValueError, match='no face to find'):
            _build(root, filter_cfg=filter_cfg)
    assert len(_build(root, filter_cfg=dict(filter_empty_gt=False))) == 1


def test_missing_and_broken_images(root):
    dataset = _build(root, pipeline=TEST_PIPELINE)
    for content in (b'', b'not a picture'):
        _image(root).write_bytes(content)
        with pytest.raises(RuntimeError, match=r'failed on .*0--A/a\.jpg'):
            dataset[0]
    _image(root).unlink()
    with pytest.raises(FileNotFoundError, match=r'0--A/a\.jpg is missing, though'):
        dataset[0]


def test_test_pipeline_keeps_original_pixels(root):
    dataset = _build(root, pipeline=TEST_PIPELINE, test_mode=True)
    item = dataset[0]
    sample = item['data_samples']
    assert item['inputs'].shape == (3, 96, 128)
    assert sample.ori_shape == (48, 64)
    assert sample.img_shape == (96, 128)
    assert sample.scale_factor == (2.0, 2.0)
    assert sample.instances == dataset.get_data_info(0)['instances']
    boxes, ignored = sample.gt_instances.bboxes, sample.ignored_instances.bboxes
    assert boxes.tensor.tolist() == [[10, 5, 30, 30], [40, 30, 43, 34]]
    assert sample.gt_instances.labels.tolist() == [0, 0]
    assert ignored.tensor.tolist() == [[1, 1, 11, 13], [7, 7, 7, 12]]


@pytest.fixture
def crowd(root):
    """30 images that need not exist, with up to 40 faces of every kind each."""
    rng = np.random.default_rng(0)
    lines, images = [], []
    for index in range(30):
        faces = np.c_[
            rng.integers(-20, 1024, (index * 4 // 3, 2)),
            rng.integers(-1, 9, (index * 4 // 3, 2)),
            rng.integers(0, 3, (index * 4 // 3, 3)),
            rng.random(index * 4 // 3) < 0.2,
            rng.integers(0, 3, (index * 4 // 3, 2)),
        ].tolist()
        images.append((f'1--B/{index}.jpg', faces))
        lines += [f'1--B/{index}.jpg', str(len(faces))]
        lines += [' '.join(map(str, face)) for face in faces]
    _annotation(root).write_text('\n'.join(lines))
    return images


def _plain_info(root, path, faces, invalid, degenerate, min_size):
    """What get_data_info should give, face by face."""
    instances = []
    for x, y, w, h, *attributes in faces:
        attributes = dict(zip(ATTRIBUTES, attributes, strict=True))
        actions = []
        if attributes['invalid']:
            actions.append(invalid)
        if w <= 0 or h <= 0:
            actions.append(degenerate)
        elif w < min_size or h < min_size:
            actions.append('ignore')
        if 'drop' not in actions:
            bbox = [float(x), float(y), float(x + w), float(y + h)]
            flag = int('ignore' in actions)
            instances.append(
                dict(bbox=bbox, bbox_label=0, ignore_flag=flag, **attributes)
            )
    return dict(
        img_id=path.removesuffix('.jpg'),
        img_path=str(_image(root, path)),
        event='1--B',
        instances=instances,
    )


@pytest.mark.parametrize(
    ('invalid', 'degenerate', 'min_size', 'serialize'),
    [
        *(
            (invalid, degenerate, 4, True)
            for invalid in ('keep', 'ignore', 'drop')
            for degenerate in ('ignore', 'drop')
        ),
        ('ignore', 'ignore', 0, False),
    ],
)
def test_infos_are_those_of_a_plain_loop(
    root, crowd, invalid, degenerate, min_size, serialize
):
    expected = [
        _plain_info(root, *image, invalid, degenerate, min_size) for image in crowd
    ]
    kept = [
        info
        for info in expected
        if not all(face['ignore_flag'] for face in info['instances'])
    ]
    assert 0 < len(kept) < len(expected)
    arguments = dict(
        invalid_faces=invalid, degenerate_boxes=degenerate, serialize_data=serialize
    )
    for infos, filter_empty_gt in ((expected, False), (kept, True)):
        dataset = _build(
            root,
            filter_cfg=dict(bbox_min_size=min_size, filter_empty_gt=filter_empty_gt),
            **arguments,
        )
        assert len(dataset) == len(infos)
        for index, info in enumerate(infos):
            got = dataset.get_data_info(index)
            assert got.pop('sample_idx') == index
            assert got == info
            assert repr(got['instances']) == repr(info['instances'])  # types as well
        # A second time: handing out an info changes nothing.
        assert dataset.get_data_info(0)['instances'] == infos[0]['instances']
        assert dataset.get_cat_ids(-1) == [0] * len(infos[-1]['instances'])


def test_pickled_form_is_small(root, crowd):
    dataset = _build(root)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    plain = sum(len(pickle.dumps(info, protocol=4)) for info in infos)
    assert sum(len(info['instances']) for info in infos) > 500
    assert len(dataset.data_bytes) < plain / 2
    assert dataset.data_list == []


def test_subsets_and_wrappers(root, crowd):
    def names(dataset):
        infos = map(dataset.get_data_info, range(len(dataset)))
        return [int(info['img_id'].split('/')[1]) for info in infos]

    dataset = _build(root)
    assert names(_build(root, indices=[3, 29, 7])) == [3, 29, 7]
    assert names(_build(root, lazy_init=True)) == [*range(30)]
    subset = dataset.get_subset(4)
    assert names(ConcatDataset([dataset, subset])) == [*range(30), *range(4)]
    balanced = ClassBalancedDataset(dataset, oversample_thr=1.0)
    assert names(balanced) == balanced.repeat_indices


@pytest.mark.parametrize('name', ['widerface', 'face_mosaic'])
@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_configs(root, repo_root, name, split):
    config = Config.fromfile(repo_root / 'configs/_base_/datasets' / f'{name}.py')
    dataset = config[f'{split}_dataloader'].dataset
    assert dataset.data_root == config.data_root
    expected = 'train' if split == 'train' else 'val'
    assert dataset.ann_file == f'wider_face_split/wider_face_{expected}_bbx_gt.txt'
    assert dataset.data_prefix.img == f'WIDER_{expected}/images'
    dataset.update(
        data_root=str(root),
        ann_file='wider_face_split/wider_face_train_bbx_gt.txt',
        data_prefix=dict(img='WIDER_train/images'),
    )
    dataset = DATASETS.build(dataset)
    # The real training set leaves images without a face to find out.
    filtered = split == 'train' and name == 'widerface'
    assert len(dataset) == (1 if filtered else 3)
    for index in range(len(dataset)):
        item = dataset[index]
        sample = item['data_samples']
        if split == 'train':
            size = config.get('crop_size') or config.image_size
            assert tuple(item['inputs'].shape[1:]) == tuple(size)
            boxes = sample.gt_instances.bboxes
            assert boxes.shape == (len(sample.gt_instances), 4)
        else:
            assert tuple(item['inputs'].shape[1:]) == sample.ori_shape
            assert sample.scale_factor == (1.0, 1.0)
            assert len(sample.instances) == (4, 0, 1)[index]


def test_widerface_mini(shared_data):
    dataset = _build(shared_data / 'widerface_mini')
    flags = [flag for i in range(len(dataset)) for flag in _flags(dataset, i)]
    assert len(dataset) == 204
    assert len(flags) == 4565
    val = _build(
        shared_data / 'widerface_mini',
        ann_file='wider_face_split/wider_face_val_bbx_gt.txt',
        data_prefix=dict(img='WIDER_val/images'),
        pipeline=TEST_PIPELINE,
        test_mode=True,
    )
    sizes = [len(val[i]['data_samples'].instances) for i in range(len(val))]
    assert (len(sizes), sum(sizes)) == (7, 478)
    assert 126 in sizes
