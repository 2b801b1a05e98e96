"""What a run logs while its tracking server is away: kept on disk beside the run, in order, and sent when it is back.

``writes`` says what can be kept and how it is sent, ``disk`` keeps it, ``sender`` sends it from a thread while the
training goes on, ``replay`` sends what a process left.
"""
