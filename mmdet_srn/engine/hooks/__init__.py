"""Hooks, each registered in ``mmdet.registry.HOOKS``; ``engine`` exports them."""
