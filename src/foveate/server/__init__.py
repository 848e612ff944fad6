"""The server: a page to view photographs and results with, and the HTTP API that the page uses.

Knows:   requests, jobs, access, and what is kept on the disk.
Ignores: how lesions are detected and results are written; the functions that the command line calls do that.

`app.create` builds the application, and `serving.serve` runs it. docs/http-api.md specifies the API, and
docs/serve.md explains how to run the server. Decision 0016 says why corrections are patches in a journal.
"""
