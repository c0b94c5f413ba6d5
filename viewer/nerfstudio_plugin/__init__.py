"""A fourreal scene in nerfstudio: ``ns-viewer``, ``ns-render``, ``ns-export`` with a Time slider.

nerfstudio finds ``config`` and ``dataparser`` through entry points and imports them at every
``ns-*`` command, whatever its method: both stay free of our own heavy modules.
"""
