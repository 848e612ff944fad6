"""Jobs: the queue of photographs, the worker processes, and the events that tell of progress.

Knows:   queues, processes and messages.
Ignores: HTTP.
"""
