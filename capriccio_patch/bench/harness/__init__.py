"""The one harness of all commands: runtimes, their processes, rounds, and what follows from values.

1. `runtimes` names a runtime and gives the command that runs a program under it; `children` starts
   the program and ends it; `rounds` lets those that are compared take turns, `sequence` measures
   one runtime after the other; `reduction` makes figures of the values, `tables` text of these.
2. Nothing here knows what is measured: that is the commands' concern.
"""
