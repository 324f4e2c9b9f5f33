"""The whole of acknowledged delivery, and of commands, in one process, on a simulated clock, network and disk.

One seed drives it all. What runs is the product: the agent as ``edge_agent.main`` assembles it, the SQLite of its
outbox and of its command journal, the bridge, the historian, and the role that sends commands. What is simulated is
what stands around it: time and threads (``event_loop``), when a process dies (``process``), the disk (``disk``), the
broker (``broker``), the event log (``event_log``), the database (``database``), the machines (``machines``), and in
some seeds presses that are commanded, and people who do (``commanded``, ``people``). A seed draws what the plant is
like and what goes wrong when (``plan``); ``plant`` runs it, and ``verdict`` says what must be true in the end.

    python -m tests.simulation --seed 1234              one seed, with what happened, line by line
    python -m tests.simulation --seeds 10000 --jobs 2   many seeds; those that fail, and why

``broken`` has builds that break what is promised, each in one place: test_broken_builds.py has each of them found by
what it breaks, and test_commands.py those of tests/broken_commands.py.

Left out: sealed rows, nodes of other makers, a disk that gives back wrong bytes, retention.
"""
