"""Every report is a pure function of one :class:`~fwproof.results.Results`; :mod:`.write` alone touches the disk.

``document`` reads and describes results.json, ``clean`` makes hostile text inert, ``view`` and ``matrix`` arrange a
run for readers, and ``junit``, ``html``, ``markdown`` and ``terminal`` render it. A new format is one module with a
``render_…`` function, and one line in :mod:`.formats`.
"""
