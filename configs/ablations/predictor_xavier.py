# The predictors start from Xavier, as the paper has it for all new layers; base: from
# N(0, .01). Then the first refined boxes are noise.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    bbox_head=dict(
        init_cfg=dict(
            type='Xavier',
            distribution='uniform',
            layer='Conv2d',
            override=[
                dict(type='Xavier', distribution='uniform', name=name, bias_prob=0.01)
                for name in ('conv_cls', 'conv_cls_first')
            ],
        )
    )
)
