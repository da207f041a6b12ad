"""Spans by which ``torch.profiler`` tells the parts of a detector apart.

Code enters them with ``torch.profiler.record_function``. They nest: the steps inside
``SELECTION`` compute what the selection reads, so a part's own time is that of its
spans without the spans inside them. Without a profiler a span costs some 8 us; a batch
enters about two per level and two per image.
"""

NECK = 'srn.neck'
"""Layers that ``SRNFPN`` deferred, computed on a whole map (see ``DeferredMap``)."""

FIRST_STEP = 'srn.first_step'
"""Subnets and predictors on the first step's maps. Where both steps read one map, the
features that they share are here."""

SECOND_STEP = 'srn.second_step'
"""Subnets and predictors on the second step's maps."""

SELECTION = 'srn.selection'
"""From the maps or their readers to candidates with boxes."""

NMS = 'srn.nms'
"""Rescaling, NMS and the limit of boxes per image."""
