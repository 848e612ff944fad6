"""Foveate as a service: a page to look with, and an HTTP API below it.

Knows:   requests, jobs, who may ask for what, and what is kept on the disk.
Ignores: how lesions are found and results are written; the calls that the command line makes do that.

`app.create` makes the application, `serving.serve` runs it. docs/http-api.md is what it promises,
docs/serve.md how it is run, and the decision on patches in a journal why it is built so.
"""
