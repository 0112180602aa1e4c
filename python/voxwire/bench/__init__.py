"""A short version of the benchmark suite: what this machine carries. It needs no rival and no network but loopback.

:func:`voxwire.bench.suite.measure` runs it. The load comes from processes of its own, each figure is the CPU time of
the process that is measured (user and system), and every answer is checked before its time counts. Saturated figures
tell what a burst costs, figures at the cadence of speech what a call does: the two are never mixed.
"""
