# mmdet's runtime, plus the import that registers SRN's components.
_base_ = 'mmdet::_base_/default_runtime.py'

custom_imports = dict(imports=['mmdet_srn'], allow_failed_imports=False)
