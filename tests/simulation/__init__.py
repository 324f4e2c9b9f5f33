"""The whole of acknowledged delivery in one process, on a simulated clock, network and disk, driven by one seed.

What runs is the product: the agent as ``edge_agent.main`` assembles it, the outbox's SQLite, the bridge and the
historian. What is simulated is what stands around it: time and threads (``event_loop``), when a process dies
(``process``), the disk (``disk``), the broker (``broker``), the event log (``event_log``), the database (``database``),
and the machines (``machines``). A seed draws what the plant is like and what goes wrong when (``plan``); ``plant`` runs
it, and ``verdict`` says what must be true in the end.

    python -m tests.simulation --seed 1234              one seed, with what happened, line by line
    python -m tests.simulation --seeds 10000 --jobs 2   many seeds; those that fail, and why

``broken`` has builds that break what is promised, each in one place: test_broken_builds.py has each of them found by
what it breaks.

Left out: sealed rows, nodes of other makers, a disk that gives back wrong bytes, retention.
"""
