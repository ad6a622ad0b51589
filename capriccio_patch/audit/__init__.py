"""The audit: every blocking call of the standard library, run live beside a thread that ticks.

``python -m capriccio_patch.audit`` runs each row of `rows` twice, each time in an interpreter of
its own: with the patch, and without it ("stock").  A row makes one call that has to wait, for about
`scene.DELAY` seconds, until another thread or process ends the wait.  Beside it a thread ticks; the
longest gap between two ticks tells whether the call let others run.

* scene    what a row has to hand: the ticker, who ends the wait, sockets, pipes, processes
* rows     the rows, one module for each family
* child    one row in this interpreter
* runner   all rows, each in children; the verdict on each
* report   the table, and JSON
* libraries which libraries in C are installed, and what the patch does for each
* matrix   the same for several schemes and interpreters at once
"""
