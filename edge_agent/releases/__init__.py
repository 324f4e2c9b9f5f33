"""Releases of the agent beside each other on one box, and the launcher that goes from one to the next and back.

``switching``, ``layout`` and ``launcher`` need the standard library only: the launcher is one process that stays.
"""
