"""The fleet: many bundles in one process, within a budget of memory, each answered in its own line.

    Fleet    which models there are; loading, leaving, swapping, rolling back
    Pool     the threads that all classifiers share, and the line before each model
    Writers  the line before a model that writes, whose worker process runs several requests side by side
"""
