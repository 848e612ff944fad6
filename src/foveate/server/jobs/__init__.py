"""Jobs: the queue of photographs, the worker processes, and the events that report progress.

Knows:   queues, processes and messages.
Ignores: HTTP.
"""
